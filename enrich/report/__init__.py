"""Pages for people: one HTML file each, which opens without a network.

Knows nothing of Spark or tables; `enrich.spark.report` collects what a run's page shows.
"""
