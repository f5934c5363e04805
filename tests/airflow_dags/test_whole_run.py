"""Whole runs: a real scheduler, the real job by spark-submit, real Delta tables.

A Spark application takes half a minute or more, so one backfill, one blocked run and what a person
does about it are run once, and looked at by several tests.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")
pytestmark = pytest.mark.spark

ROOT = Path(__file__).resolve().parents[2]
JOB_PYTHON = ROOT / ".venv" / "bin" / "python"
TODAY = datetime.now(UTC).date()
DAYS = [str(TODAY - timedelta(days=days)) for days in (5, 4, 3)]
PRODUCTS = 60
APPLICATION_TIMEOUT_S = 900
REASON = "a new season; looked at by hand"

WRITE_DAY = """
import sys
from pathlib import Path
import pandas as pd
from demo.catalog import write_demo_catalog
folder = Path(sys.argv[1])
write_demo_catalog(folder, products=int(sys.argv[2]))
table = pd.read_parquet(folder / "products.parquet")
table["description"] = f"As of {folder.name}. " + table["description"].fillna("")
table.to_parquet(folder / "products.parquet")
"""
READ_TABLE = """
import json, sys
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1])
# pyarrow's reading threads abort a process that ends right after them, now and then.
rows = table.to_pyarrow_dataset().to_table(use_threads=False).to_pandas()
rows = rows.to_json(orient="records", date_format="iso")
print(json.dumps({"rows": json.loads(rows), "history": table.history()}, default=str))
"""


@dataclass(frozen=True)
class Lakehouse:
    """Tables of their own, read without Spark by the job's environment."""

    folder: Path

    def spark_submit(self):
        """Returns the arguments that lead the job to these tables."""
        metastore = f"jdbc:derby:;databaseName={self.folder}/metastore;create=true"
        return (
            f"--conf spark.sql.warehouse.dir={self.folder}/warehouse "
            f"--conf 'spark.hadoop.javax.jdo.option.ConnectionURL={metastore}' "
            # Tables of 60 rows: more tasks are mostly their own start-up.
            "--conf spark.sql.shuffle.partitions=1 "
            "--conf spark.databricks.delta.snapshotPartitions=1"
        )

    def read(self, name):
        """Returns a table's rows, and its history, newest first."""
        table = self.folder / "warehouse" / "shop.db" / name
        command = [JOB_PYTHON, "-c", READ_TABLE, table]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def rows(self, name):
        return self.read(name)["rows"]

    def published_runs(self):
        """Returns the runs that changed the published table, oldest first."""
        history = self.read("product_attributes")["history"]
        return [run_of(commit) for commit in reversed(history) if "userMetadata" in commit]


def last_events(lakehouse):
    """Returns the last event of every run, oldest run first."""
    last: dict[str, dict[str, Any]] = {}
    for event in sorted(lakehouse.rows("run_events"), key=itemgetter("number")):
        last[event["run_id"]] = event
    return sorted(last.values(), key=itemgetter("started_at"))


def triggered(lakehouse, trigger):
    """Returns the last event of the newest run of a trigger."""
    return [event for event in last_events(lakehouse) if event["trigger"] == trigger][-1]


def run_of(commit):
    return json.loads(commit["userMetadata"])["run_id"]


@pytest.fixture(scope="module")
def lakehouse(tmp_path_factory):
    return Lakehouse(tmp_path_factory.mktemp("lakehouse"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A product table a day, all products other every day."""
    folder = tmp_path_factory.mktemp("shop")
    # A run by hand is of the day on which it starts.
    days = [*DAYS, str(TODAY), str(TODAY + timedelta(days=1))]
    for day in days:
        command = [JOB_PYTHON, "-c", WRITE_DAY, folder / day, str(PRODUCTS)]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        for file in (folder / day).iterdir():
            os.utime(file, (0, 0))
    (folder / "lenient.yaml").write_text("database: shop\n")
    # No style is answered in a source that looks unlike training.
    (folder / "strict.yaml").write_text(
        "validation:\n"
        "  expectations: [{type: expect_column_values_to_not_be_null, column: style}]\n"
    )
    return folder


@pytest.fixture(scope="module")
def configure(airflow, lakehouse, shop):
    """Returns a function that points the DAGs at this shop, with one of its configurations."""

    def point(config):
        airflow.set_variables(
            catalog_config=shop / config,
            catalog_products=shop / "{run_date}" / "products.parquet",
            catalog_database="shop",
            catalog_spark_submit=lakehouse.spark_submit(),
        )

    return point


@pytest.fixture(scope="module")
def backfilled(airflow, lakehouse, configure, waited):
    """Three days, backfilled by Airflow; the first day's driver is killed in the middle once."""
    configure("lenient.yaml")
    skip_the_run_of_the_clock(airflow, waited)
    backfill = airflow.backfill("refresh_catalog", DAYS[0], DAYS[-1])

    def runs():
        found = airflow.runs("refresh_catalog", run_type="backfill", order_by="logical_date")
        return found if len(found) == len(DAYS) else []

    first = waited(runs, "three runs")[0]["dag_run_id"]
    staging = lakehouse.folder / "warehouse" / "shop.db" / "_temporary_runs"
    waited(staging.exists, "the first stage, at work", APPLICATION_TIMEOUT_S)
    driver_of(lakehouse).kill()
    for run in runs():
        airflow.finish("refresh_catalog", run["dag_run_id"], 3 * APPLICATION_TIMEOUT_S)
    waited(
        lambda: airflow.call("GET", f"/backfills/{backfill}")["completed_at"], "the backfill's end"
    )
    assert runs()[0]["dag_run_id"] == first
    return runs()


def skip_the_run_of_the_clock(airflow, waited):
    """Switches the refresh on, which starts the last night's run; there are no products for it."""
    airflow.switch_on("refresh_catalog")
    nightly = waited(lambda: airflow.runs("refresh_catalog", run_type="scheduled"), "a run")
    for run in nightly:
        path = f"/dags/refresh_catalog/dagRuns/{run['dag_run_id']}"
        airflow.call("PATCH", path, {"state": "failed"})


def driver_of(lakehouse):
    """Returns the Java process of the Spark application on these tables."""
    found = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "java" and str(lakehouse.folder) in str(process.info["cmdline"])
    ]
    (driver,) = found
    return driver


def test_three_days_are_backfilled_in_order(lakehouse, backfilled):
    assert [run["state"] for run in backfilled] == ["success"] * 3
    assert [run["logical_date"][:10] for run in backfilled] == DAYS
    published = [run for run in last_events(lakehouse) if run["state"] == "published"]
    assert [run["run_date"][:10] for run in published] == DAYS
    assert [run["trigger"] for run in published] == [run["dag_run_id"] for run in backfilled]
    assert lakehouse.published_runs() == [run["run_id"] for run in published]


def test_a_killed_driver_is_tried_again_and_its_rows_are_there_once(airflow, lakehouse, backfilled):
    run_id = backfilled[0]["dag_run_id"]
    tasks = airflow.tasks("refresh_catalog", run_id)
    assert {name: task["try_number"] for name, task in tasks.items()} == {
        "wait_for_products": 1,
        "stage": 2,
        "gate": 1,
        "publish": 1,
    }
    assert "exit code -9, which may pass" in airflow.log("refresh_catalog", run_id, "stage")
    attempt = triggered(lakehouse, run_id)["run_id"]
    staged = [r["product_id"] for r in lakehouse.rows("candidates") if r["run_id"] == attempt]
    assert len(staged) == len(set(staged)) > 0.8 * PRODUCTS


def test_the_published_table_is_that_of_the_last_day(lakehouse, backfilled):
    published = lakehouse.rows("product_attributes")
    run = triggered(lakehouse, backfilled[-1]["dag_run_id"])
    mine = [row for row in published if row["run_id"] == run["run_id"]]
    assert len(mine) == run["published"] > 0.8 * PRODUCTS
    assert {row["run_date"][:10] for row in mine} == {DAYS[-1]}
    assert len({row["product_id"] for row in published}) == len(published)


def test_consumers_are_told_of_every_run_and_of_the_version_that_holds_it(
    airflow, lakehouse, backfilled
):
    run_ids = [triggered(lakehouse, run["dag_run_id"])["run_id"] for run in backfilled]
    mine = [e for e in airflow.events("product_attributes") if e["extra"]["run_id"] in run_ids]
    assert [event["extra"]["run_id"] for event in mine] == run_ids
    ledger = {run["run_id"]: run for run in last_events(lakehouse)}
    versions = {
        run_of(commit): commit["version"]
        for commit in lakehouse.read("product_attributes")["history"]
        if "userMetadata" in commit
    }
    for event in mine:
        told = event["extra"]
        assert told["counts"]["published"] == ledger[told["run_id"]]["published"] > 0
        assert told["table_versions"]["product_attributes"] == versions[told["run_id"]]


@pytest.fixture(scope="module")
def blocked(airflow, lakehouse, configure, backfilled):
    """A run by hand that fails its validation, and the published table before and after."""
    configure("strict.yaml")
    before = lakehouse.read("product_attributes")
    run_id, state = airflow.run("refresh_catalog", APPLICATION_TIMEOUT_S)
    after = lakehouse.read("product_attributes")
    attempt = triggered(lakehouse, run_id)["run_id"]
    return {
        "dag_run_id": run_id,
        "run_id": attempt,
        "state": state,
        "before": before,
        "after": after,
    }


def test_a_failed_gate_is_not_retried_and_leaves_the_published_table_alone(
    airflow, lakehouse, blocked
):
    assert blocked["state"] == "failed"
    tasks = airflow.tasks("refresh_catalog", blocked["dag_run_id"])
    assert (tasks["stage"]["state"], tasks["gate"]["state"]) == ("success", "failed")
    assert (tasks["stage"]["try_number"], tasks["gate"]["try_number"]) == (1, 1)
    assert tasks["publish"]["state"] == "upstream_failed"
    log = airflow.log("refresh_catalog", blocked["dag_run_id"], "gate")
    assert "Nothing was published" in log
    assert blocked["after"] == blocked["before"]
    staged = [row["run_id"] for row in lakehouse.rows("candidates")]
    assert staged.count(blocked["run_id"]) > 0.8 * PRODUCTS


def test_a_blocked_run_is_published_by_a_person_whose_reason_is_kept(airflow, lakehouse, blocked):
    airflow.switch_on("publish_blocked_run")
    given = {"run_id": blocked["run_id"], "reason": REASON}
    _, state = airflow.run("publish_blocked_run", APPLICATION_TIMEOUT_S, **given)
    assert state == "success"
    run = triggered(lakehouse, blocked["dag_run_id"])
    assert (run["state"], run["reason"]) == ("published", REASON)
    published = [row["run_id"] for row in lakehouse.rows("product_attributes")]
    assert published.count(blocked["run_id"]) == run["published"] > 0.8 * PRODUCTS
    assert airflow.events("product_attributes")[-1]["extra"]["run_id"] == blocked["run_id"]


def test_maintenance_runs_by_the_clock_and_changes_no_row(airflow, lakehouse, blocked, waited):
    def rows():
        return sorted(lakehouse.rows("product_attributes"), key=itemgetter("product_id"))

    before = rows()
    airflow.switch_on("maintain_tables")
    (run,) = waited(lambda: airflow.runs("maintain_tables"), "last Sunday's run")
    state = airflow.finish("maintain_tables", run["dag_run_id"], 2 * APPLICATION_TIMEOUT_S)
    assert state == "success"
    assert rows() == before
