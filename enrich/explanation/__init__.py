"""Shows for one product what the classifier looked at. The Spark job never imports this."""
