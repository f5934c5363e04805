"""Checks of products and answers before publication, by Great Expectations.

`gate.Gate` is what a refresh calls. Needs Spark, and no torch.
"""
