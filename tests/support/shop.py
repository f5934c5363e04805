"""A shop for tests of the refresh: a product table, a database, and the fake engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from bench.fake_engine import FakeEngineSpec
from enrich.config import JobConfig
from enrich.images.store import ImageSample, ImageStore
from enrich.spark import publish
from enrich.spark.inputs import Inputs, Request
from enrich.spark.maintenance import maintain_tables
from enrich.spark.refresh import Refresh
from enrich.spark.runs import RunSummary
from enrich.spark.source import open_source
from enrich.spark.tables import Tables
from expectations.checks import Verdict
from schemas.labels import AuditedLabel

DAY = date(2026, 11, 24)
_COLUMNS = ("product_id", "title", "description", "image_path")
_CHECK = {"suite": "candidates", "expectation": "expect_all_rows", "outcome": "pass"}


@dataclass(frozen=True)
class FakeGate:
    """A gate that blocks for the given reasons, and passes without any."""

    input_failures: Sequence[str] = ()
    failures: Sequence[str] = ()
    max_unusable_id_share: float = 1.0

    def prepare(self) -> None:
        pass

    def check_input(self, products: DataFrame, images: ImageSample) -> Verdict:
        return Verdict(failures=tuple(self.input_failures))

    def check_candidates(
        self,
        candidates: DataFrame,
        published: DataFrame,
        expected_rows: int,
        *,
        is_unseen: bool,
        audited: Sequence[AuditedLabel],
    ) -> Verdict:
        check = {**_CHECK, "observed": float(expected_rows)}
        return Verdict(failures=tuple(self.failures), quality=(check,))


def products(count: int = 6, mark: str = "") -> pd.DataFrame:
    """Return a product table without images; another `mark` is another content of each product."""
    rows = [(f"p{number}", f"shirt number {number}{mark}", None, None) for number in range(count)]
    return pd.DataFrame(rows, columns=_COLUMNS).astype("string")


class Shop:
    """A product table and a database of its own. Images lie in `folder`.

    `summaries` are those of all refreshes, also of those that raised; `summary` is the last one's.
    """

    def __init__(self, spark: SparkSession, folder: Path, database: str) -> None:
        self.spark, self.folder, self.database = spark, folder, database
        self.file = folder / "products.parquet"
        self.summaries: list[RunSummary] = []

    @property
    def summary(self) -> RunSummary:
        """What the last refresh says of itself."""
        return self.summaries[-1] if self.summaries else RunSummary()

    def write(self, table: pd.DataFrame) -> None:
        """Replace the product table."""
        table.to_parquet(self.file)

    def write_csv(
        self, *rows: str, header: str = ",".join(_COLUMNS), encoding: str = "utf-8"
    ) -> None:
        """Write the lines as they are; from now on they are the product table."""
        self.file = self.file.with_suffix(".csv")
        self.file.write_text("\n".join([header, *rows, ""]), encoding)

    def refresh(
        self,
        *,
        failures: Sequence[str] = (),
        input_failures: Sequence[str] = (),
        spec: FakeEngineSpec | None = None,
        config: dict[str, Any] | None = None,
        **request: Any,
    ) -> RunSummary:
        """Run one refresh, of DAY unless `run_date` is given.

        Raises:
            NothingPublished: there are failures, or a guard stopped the run.
        """
        inputs = self.prepare(spec, config, **request)
        run = Refresh(inputs, FakeGate(input_failures, failures))
        self.summaries.append(run.summary)
        return run.run()

    def prepare(
        self,
        spec: FakeEngineSpec | None = None,
        config: dict[str, Any] | None = None,
        **request: Any,
    ) -> Inputs:
        """Return what a refresh is given."""
        settings = JobConfig(
            **{"database": self.database, "seconds_per_chunk": 0, **(config or {})}
        )
        return Inputs(
            self.spark,
            settings,
            Request(**{"run_date": DAY, **request}),
            spec or FakeEngineSpec(),
            ImageStore(str(self.folder)),
            open_source(self.spark, str(self.file), settings.columns),
        )

    def approve(
        self, name: str, reason: str | None = None, spec: FakeEngineSpec | None = None
    ) -> dict[str, Any]:
        """Publish a waiting run, or release a rolled-back one; return its last event."""
        spec = spec or FakeEngineSpec()
        tables = self.tables_for(spec)
        return publish.approve(tables, name, reason, spec.attributes, spec.model_version)

    def discard(self, name: str, reason: str = "no good") -> dict[str, Any]:
        """Discard a waiting run; return its last event."""
        return publish.discard(self.tables, name, reason)

    def roll_back(self, run_id: str, reason: str = "no good") -> list[str]:
        """Roll a run back; return all runs that this undid."""
        return publish.roll_back(self.tables, run_id, reason)

    def maintain(
        self,
        retention_hours: int = 168,
        keep_candidates_days: int = 30,
        keep_history_days: int = 365,
        temporary_folder: str | None = None,
    ) -> dict[str, Any]:
        """Run maintenance."""
        return maintain_tables(
            self.tables,
            retention_hours=retention_hours,
            keep_candidates_days=keep_candidates_days,
            keep_history_days=keep_history_days,
            temporary_folder=temporary_folder,
        )

    def correct(self, product_id: str, attribute: str, label: str | None) -> None:
        """Append a correction."""
        said = {
            "product_id": product_id,
            "attribute": attribute,
            "label": label,
            "corrected_by": "ana",
            "corrected_at": datetime.now(UTC),
        }
        rows = self.tables.to_rows("attribute_corrections", [said])
        self.tables.append("attribute_corrections", rows, "by hand")

    @property
    def tables(self) -> Tables:
        """The tables, for the attributes of the fake engine."""
        return self.tables_for(FakeEngineSpec())

    def tables_for(self, spec: FakeEngineSpec) -> Tables:
        """Return the tables for the attributes of a recipe."""
        return Tables(self.spark, self.database, tuple(spec.attributes))

    def sql(self, query: str) -> pd.DataFrame:
        """Return the rows of a query; `shop` in it is this shop's database."""
        return self.spark.sql(query.replace("shop.", f"{self.database}.")).toPandas()

    def table(self, name: str) -> pd.DataFrame:
        """Return all rows of a table or view."""
        return self.spark.read.table(f"{self.database}.{name}").toPandas()

    def state(self, run_id: str) -> str:
        """Return the state of a run."""
        rows = self.sql(f"SELECT outcome FROM shop.enrichment_runs WHERE run_id = '{run_id}'")
        return str(rows["outcome"].item())

    def version(self, name: str) -> int:
        """Return a table's newest Delta version."""
        return self.tables.version(name)
