"""Training of classifiers from labelled product tables, apart from the Spark job."""
