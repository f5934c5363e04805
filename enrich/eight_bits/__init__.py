"""A checkpoint whose towers compute in eight bits, made of one that does not.

Knows nothing of how eight bits are computed with: `enrich.classifiers.eight_bits` does.
"""
