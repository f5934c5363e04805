"""The page that a run writes for people: what it shows, how it looks, one file without network.

Knows nothing of Spark or tables; `enrich.spark.report` collects what it shows.
"""
