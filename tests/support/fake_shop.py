"""A shop for tests of the refresh: a catalog file, a database, and the fake engine."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from enrich.config import JobConfig
from enrich.fake_engine import FakeEngineSpec
from enrich.images.store import ImageStore
from enrich.spark.inputs import Inputs
from enrich.spark.records import InputRows, RunRequest, RunSummary, StagedRows
from enrich.spark.run import Refresh
from enrich.spark.settling import publish_staged_run
from enrich.spark.source import open_source
from enrich.spark.tables.output_tables import OutputTables
from enrich.spec import BuildsEngine
from schemas.verdict import Verdict

DAY = date(2026, 11, 24)


def passes(staged: StagedRows) -> Verdict:
    check = {
        "suite": "staged",
        "attribute": None,
        "expectation": "expect_all_rows_staged",
        "observed": float(staged.expected),
        "threshold": float(staged.expected),
        "outcome": "pass",
        "detail": "",
    }
    return Verdict(quality=(check,))


def fails(staged: StagedRows) -> Verdict:
    return Verdict(failures=("color: too blue",))


def accepts(read: InputRows) -> Verdict:
    return Verdict()


@dataclass(frozen=True)
class FakeGate:
    """A gate that judges as it is told."""

    validate_staged: Callable[[StagedRows], Verdict] = passes
    validate_input: Callable[[InputRows], Verdict] = accepts
    max_unusable_id_share: float = 1.0


def products(count: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "product_id": [f"p{number}" for number in range(count)],
            "title": [f"shirt number {number}" for number in range(count)],
            "description": None,
            "image_path": None,
        }
    ).astype("string")


class Shop:
    """A catalog file and a database of its own."""

    def __init__(self, spark: SparkSession, folder: Path, database: str) -> None:
        self.spark = spark
        self.file = folder / "products.parquet"
        self.folder = folder
        self.database = database

    def write(self, table: pd.DataFrame) -> None:
        table.to_parquet(self.file)

    def write_csv(
        self,
        *rows: str,
        header: str = "product_id,title,description,image_path",
        encoding: str = "utf-8",
    ) -> None:
        """Writes the lines as they are; from now on they are the catalog."""
        self.file = self.file.with_suffix(".csv")
        self.file.write_text("\n".join([header, *rows, ""]), encoding)

    def refresh(
        self,
        validate: Callable[[StagedRows], Verdict] = passes,
        model_version: str = "fake-1",
        spec: BuildsEngine | None = None,
        config: dict | None = None,
        validate_input: Callable[[InputRows], Verdict] = accepts,
        **request: object,
    ) -> RunSummary:
        inputs = self.prepare(model_version, spec, config, **request)
        return Refresh(inputs, FakeGate(validate, validate_input)).run()

    def publish_staged(
        self,
        run_id: str,
        reason: str | None = None,
        model_version: str = "fake-1",
        config: dict | None = None,
    ) -> RunSummary:
        settings = self._settings(config)
        labels = FakeEngineSpec().attributes
        return publish_staged_run(self.tables, labels, model_version, run_id, reason, settings)

    def _settings(self, config: dict | None) -> JobConfig:
        return JobConfig(**{"database": self.database, **(config or {})})

    def prepare(
        self,
        model_version: str = "fake-1",
        spec: BuildsEngine | None = None,
        config: dict | None = None,
        **request: object,
    ) -> Inputs:
        """Returns what a refresh is given."""
        settings = self._settings(config)
        return Inputs(
            self.spark,
            settings,
            RunRequest(**{"run_date": DAY, **request}),  # type: ignore[arg-type]
            spec or FakeEngineSpec(model_version=model_version),
            ImageStore(str(self.folder)),
            open_source(self.spark, str(self.file), settings.columns),
        )

    @property
    def tables(self) -> OutputTables:
        return OutputTables(self.spark, self.database, tuple(FakeEngineSpec().attributes))

    def sql(self, query: str) -> pd.DataFrame:
        """Returns what a query says; `shop` in it is this shop's database."""
        return self.spark.sql(query.replace("shop.", f"{self.database}.")).toPandas()

    def table(self, name: str) -> pd.DataFrame:
        return self.spark.read.table(f"{self.database}.{name}").toPandas()

    def version(self, name: str) -> int:
        history = self.spark.sql(f"DESCRIBE HISTORY {self.database}.{name} LIMIT 1")
        return int(history.collect()[0]["version"])
