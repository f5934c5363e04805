"""The engine inside Spark: which products are pending, the UDF, the tables.

The only place in `enrich` where pyspark is allowed. Every function says where it runs.
"""
