"""Colors and patterns as textures: what a drawn product is made of.

Knows the labels of color and pattern, and nothing of garments, photographs or texts.
Lengths are in units: a product reaches from about -1 to 1 in both directions.
"""
