"""Refresh on Spark: source, diff, encode, answer, publish.

The only place in `enrich` where pyspark is allowed. A function that does not say that it runs on
the executor runs on the driver.
"""
