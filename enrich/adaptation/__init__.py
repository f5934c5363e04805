"""Fit a checkpoint to a shop by a few hundred of its labelled products."""
