"""Pages for people: one HTML file each, which opens without a network.

Independent of Spark and tables; `enrich.spark.report` collects the contents of a run's page.
"""
