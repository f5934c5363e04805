"""The inference engine: products in, attributes with confidence out.

Runs with torch and without Spark, so it also runs alone on a GPU box. Only `enrich.spark` may
import pyspark.
"""
