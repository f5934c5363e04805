"""Checks of products and answers before anything is published, by Great Expectations.

`gate.Gate` is what a refresh calls. Needs Spark, and neither torch nor the package `enrich`.
"""
