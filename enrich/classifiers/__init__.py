"""Classifiers that map image and text of a product to logits per attribute."""
