"""Counts what the fault tests did, for the last line of `make test-faults`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_shop import Shop, products
from fault_drill import Drill
from pyspark.sql import SparkSession

COUNTS_FILE = Path(__file__).parents[2] / "build" / "faults.json"


@pytest.fixture(scope="session")
def drill() -> Iterator[Drill]:
    """The session's counts; a file holds them when it ends."""
    drill = Drill()
    yield drill
    COUNTS_FILE.parent.mkdir(exist_ok=True)
    COUNTS_FILE.write_text(json.dumps(drill.counts) + "\n")


@pytest.fixture
def shop(spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop with tables of its own."""
    database = f"faults_{abs(hash(request.node.name))}"
    shop = Shop(spark, tmp_path, database)
    shop.write(products())
    yield shop
    spark.sql(f"DROP DATABASE IF EXISTS {database} CASCADE")
