"""One shop for many tests: what they start from is made once, and its files are put back."""

import gc
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyspark.sql import SparkSession
from shop import Shop, products

from bench.fake_engine import FakeEngineSpec
from enrich.errors import ValidationFailed
from enrich.spark.runs import RunSummary

# What a test starts from. It is given six products, and tables without a row.
Start = Callable[[Shop], Any]
BETTER = FakeEngineSpec(model_version="fake-2-p90")


def empty(shop: Shop) -> None:
    """Leave the tables without a row."""


def published(shop: Shop) -> None:
    """Publish six products."""
    shop.refresh()


def blocked(shop: Shop) -> None:
    """Let the gate block the candidates of six products."""
    with pytest.raises(ValidationFailed, match="too blue"):
        shop.refresh(failures=["too blue"])


def staged(shop: Shop) -> None:
    """Stage the candidates of six products under a trigger, `nightly`."""
    shop.refresh(trigger="nightly", publish=False)


def rolled_back(shop: Shop) -> None:
    """Publish six products, and again by a better checkpoint; undo the second run."""
    shop.refresh()
    wrong = shop.refresh(spec=BETTER).run_id
    assert shop.roll_back(wrong) == [wrong]


class _Kept(NamedTuple):
    """Copies of the folders that a start has left, and its runs."""

    folder: Path
    file: Path
    summaries: list[RunSummary]


class PreparedShop:
    """One database and one folder, which each test finds as its start has left them.

    A Delta table is a folder: a copy of it, put back, is the table as it was. The metastore holds
    no rows, so that it stays as it is, unless a test adds columns, properties or tables.
    """

    def __init__(self, spark: SparkSession, folder: Path, database: str = "prepared") -> None:
        self._spark, self._folder, self._database = spark, folder, database
        warehouse = str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:")
        self._tables = Path(warehouse, f"{database}.db")
        self._kept: dict[Start, _Kept] = {}
        self._names: set[str] = set()

    def open(self, start: Start, kind: type[Shop] = Shop) -> Shop:
        """Return the shop as the start leaves it; the start runs once."""
        shop = kind(self._spark, self._folder / "shop", self._database)
        if empty not in self._kept:
            shop.folder.mkdir(exist_ok=True)
            shop.write(products())
            shop.tables.create_missing()
            self._names = self._list_names()
            self._keep(empty, shop)
        if start not in self._kept:
            self._put_back(self._kept[empty])
            start(shop)
            self._keep(start, shop)
        kept = self._kept[start]
        self._put_back(kept)
        shop.file, shop.summaries = kept.file, deepcopy(kept.summaries)
        return shop

    def close(self) -> None:
        """Forget what Spark knows of the tables; make them anew if a test has altered them."""
        self._forget()
        if empty not in self._kept or not self._is_altered():
            return
        self._spark.sql(f"DROP DATABASE IF EXISTS {self._database} CASCADE")
        self._tables.mkdir(exist_ok=True)
        self._put_back(self._kept[empty])
        # Over folders that are there.
        Shop(self._spark, self._folder / "shop", self._database).tables.create_missing()

    def _keep(self, start: Start, shop: Shop) -> None:
        copy = self._folder / f"start-{len(self._kept)}"
        shutil.copytree(self._tables, copy / "tables")
        shutil.copytree(shop.folder, copy / "shop")
        self._kept[start] = _Kept(copy, shop.file, deepcopy(shop.summaries))

    def _put_back(self, kept: _Kept) -> None:
        for name, place in (("tables", self._tables), ("shop", self._folder / "shop")):
            shutil.rmtree(place)
            shutil.copytree(kept.folder / name, place)
        self._forget()

    def _forget(self) -> None:
        # What is kept of tables that are gone would be looked at when anything else is forgotten.
        self._spark.catalog.clearCache()
        forget_tables(self._spark)

    def _is_altered(self) -> bool:
        if self._list_names() != self._names:
            return True
        first = _read_metadata(self._kept[empty].folder / "tables")
        return _read_metadata(self._tables) != first

    def _list_names(self) -> set[str]:
        rows = self._spark.sql(f"SHOW TABLES IN {self._database}").collect()
        return {row["tableName"] for row in rows if not row["isTemporary"]}


def _read_metadata(tables: Path) -> dict[str, set[tuple[str, str]]]:
    """Return by table every schema and all properties that its log has."""
    return {
        log.parent.name: {
            (said["schemaString"], json.dumps(said["configuration"], sort_keys=True))
            for commit in log.glob("*.json")
            for line in commit.read_text().splitlines()
            if line.startswith('{"metaData"')
            for said in [json.loads(line)["metaData"]]
        }
        for log in tables.glob("*/_delta_log")
    }


def forget_tables(spark: SparkSession) -> None:
    """Free what Java keeps of the tables and queries of a test."""
    # For an hour Delta keeps what it knows of each table: of hundreds of shops a gigabyte.
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    # Python frees DataFrames in cycles late: of 300 tests Java kept 1.4 GB of plans.
    gc.collect()
