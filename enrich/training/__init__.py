"""Train a classifier from labelled product tables; not part of the Spark job."""
