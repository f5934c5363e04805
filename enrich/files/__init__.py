"""Files on a local disk: product tables and labels."""
