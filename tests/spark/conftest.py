"""A store that Spark alone can read."""

from time import time_ns

import pytest


@pytest.fixture
def store(spark, tmp_path):
    """The address of a store which holds what lies in tmp_path, and which Spark alone can read."""
    name = f"store-{time_ns()}"
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set(f"fs.viewfs.mounttable.{name}.link./shop", tmp_path.as_uri())
    return f"viewfs://{name}/shop"
