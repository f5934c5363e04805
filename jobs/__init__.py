"""Entry points: one file a command, for spark-submit and for `catalog-enrich`."""
