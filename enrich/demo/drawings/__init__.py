"""Garments and goods drawn with polygons: each drawing is a function that paints on a canvas.

Coordinates are in units, x to the right and y down; a product reaches from about -1 to 1. Knows
cloth, and nothing of labels, backgrounds or files.
"""
