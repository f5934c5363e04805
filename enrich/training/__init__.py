"""Trains a classifier from labelled product tables. The job itself never imports this."""
