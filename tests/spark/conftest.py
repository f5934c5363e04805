"""One shop a test, with tables of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_shop import Shop, products
from pyspark.sql import SparkSession


@pytest.fixture
def shop(spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    database = f"db_{abs(hash(request.node.name))}"
    shop = Shop(spark, tmp_path, database)
    shop.write(products())
    yield shop
    spark.sql(f"DROP DATABASE IF EXISTS {database} CASCADE")
