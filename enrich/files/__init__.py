"""Files on a local disk: tables and corrections read without Spark, and files written whole."""
