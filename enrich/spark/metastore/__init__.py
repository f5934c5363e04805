"""Where Spark keeps the names of tables: in a folder of one process, or in a database server."""
