"""A process of its own that runs refreshes, one after the other, until it is killed or done.

    python killed_refresh.py '{"home": ..., "steps": [{"do": "monday", "database": "base"}, ...]}'

Monday fills new tables, Tuesday changes them: changed, new, recategorised, corrected, duplicate,
unreadable and unchanged products. A step with a point dies there; each other one leaves a line in
`answers.jsonl`.
"""

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fake_shop import FakeGate
from kill_points import (
    CommitRecorder,
    Control,
    KillPoint,
    WatchedSpec,
    WatchedStore,
    arm,
    wrap_calls,
)
from own_metastore import derby
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from two_days import DAYS

from enrich.config import ColumnNames, JobConfig
from enrich.spark.inputs import Inputs
from enrich.spark.records import RunRequest
from enrich.spark.rollback import roll_back
from enrich.spark.run import Refresh
from enrich.spark.settling import publish_staged_run
from enrich.spark.source import open_source
from enrich.spark.tables.output_tables import OutputTables

PRODUCTS_PER_CHUNK = 8


def open_session(home: Path) -> SparkSession:
    # Workers start from PATH's python3 otherwise.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.sql.warehouse.dir": str(home / "warehouse"),
        **derby(f";databaseName={home}/metastore"),
        # Each kill is a cold start: what pays off later only costs here.
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={home} -XX:+UseSerialGC",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.shuffle.partitions": "1",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[2]").appName("killed")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.enableHiveSupport().getOrCreate()


class Steps:
    """What a process can be told to do to a database."""

    def __init__(self, spark: SparkSession, home: Path) -> None:
        self.spark = spark
        self.home = home

    def monday(self, database: str) -> dict[str, Any]:
        return self._refresh(database, "monday")

    def tuesday(self, database: str, publish: bool = True) -> dict[str, Any]:
        return self._refresh(database, "tuesday", publish=publish)

    def copy(self, database: str, source: str) -> None:
        """Makes a database of a copy of another one's folder."""
        folder = self.folder(database)
        shutil.copytree(self.folder(source), folder)
        self.spark.sql(f"CREATE DATABASE {database}")
        for table in folder.iterdir():
            if (table / "_delta_log").is_dir():
                name = f"{database}.{table.name}"
                self.spark.sql(f"CREATE TABLE {name} USING DELTA LOCATION '{table}'")

    def correct(self, database: str) -> None:
        self.spark.sql(
            f"INSERT INTO {database}.attribute_corrections VALUES "
            "('p6', 'color', 'green', 'somebody', TIMESTAMP '2026-11-23 12:00:00', NULL)"
        )

    def publish(self, database: str) -> dict[str, Any]:
        """Publishes what Tuesday's run staged."""
        tables = self.tables(database)
        spec, run_id = WatchedSpec(self.home), self._run_id(database)
        config = JobConfig(database=database)
        summary = publish_staged_run(
            tables, spec.attributes, spec.model_version, run_id, None, config
        )
        return asdict(summary)

    def roll_back(self, database: str) -> list[str]:
        """Takes back what Tuesday's run published."""
        return roll_back(self.tables(database), self._run_id(database), "a mistake")

    def _run_id(self, database: str) -> str:
        runs = self.spark.read.table(f"{database}.enrichment_runs")
        return str(runs.where(F.col("run_date") == DAYS["tuesday"]).collect()[0]["run_id"])

    def folder(self, database: str) -> Path:
        return self.home / "warehouse" / f"{database}.db"

    def tables(self, database: str) -> OutputTables:
        return OutputTables(self.spark, database, tuple(WatchedSpec(self.home).attributes))

    def _refresh(self, database: str, day: str, publish: bool = True) -> dict[str, Any]:
        config = JobConfig(
            database=database,
            columns=ColumnNames(category="kind"),
            products_per_chunk=PRODUCTS_PER_CHUNK,
        )
        file = self.home / f"{day}.parquet"
        inputs = Inputs(
            self.spark,
            config,
            # Named, as Airflow does.
            RunRequest(run_date=DAYS[day], run_id=day, publish=publish),
            WatchedSpec(self.home),
            WatchedStore(str(self.home), self.home),
            open_source(self.spark, str(file), config.columns),
        )
        return asdict(Refresh(inputs, FakeGate()).run())


def main(home: Path, steps: list[dict[str, Any]]) -> None:
    doer = Steps(open_session(home), home)
    for step in steps:
        do, database, attempt = step.pop("do"), step["database"], step.pop("attempt", "")
        point, is_recorded = step.pop("point", None), step.pop("record", False)
        point = point and KillPoint(**point)
        Control(home, f"{database} {attempt}", point).tell()
        recorder = CommitRecorder(doer.folder(database))
        if is_recorded:
            wrap_calls(recorder.notice)
        if point:
            arm(point, doer.folder(database))
        told = {"database": database, "attempt": attempt, "committed": recorder.committed}
        try:
            told["answer"] = getattr(doer, do)(**step)
        except Exception as error:
            told["error"] = f"{type(error).__name__}: {error}"
        with (home / "answers.jsonl").open("a") as answers:
            answers.write(json.dumps(told, default=str) + "\n")


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    main(Path(told["home"]), told["steps"])
