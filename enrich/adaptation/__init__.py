"""Fits a checkpoint to a shop by a few hundred of its products that somebody has labelled."""
