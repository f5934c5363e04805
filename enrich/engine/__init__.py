"""The engine: products in, encodings and answers out, without Spark."""
