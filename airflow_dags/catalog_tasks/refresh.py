"""Steps of every refresh: stage, gate, publish; with what all DAGs share.

Each is a task of its own, so that a person can check the run in between, and clear or mark a task.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog_tasks.alerts import keep_error, report_failed_run
from catalog_tasks.spark_job import DONE, NOT_PUBLISHED, POOL, SparkJob

log = logging.getLogger(__name__)

# Assets' names hold no path of a table: that belongs to a deployment, and parsing a DAG file must
# not look it up.

# Written by somebody else's DAG (`outlets=[Asset("product_table")]`), or by a call of Airflow's
# API when something outside Airflow has written the products.
PRODUCT_TABLE = Asset("product_table")

# Consumers schedule on it. Its events carry run_id, counts and the table's Delta version.
PRODUCT_ATTRIBUTES = Asset("product_attributes")

# Empty: the settings' database.
DATABASE = "{{ var.value.get('catalog_database', '') | trim }}"
# Empty: the job's own default.
CONFIG = "{{ var.value.get('catalog_config', '') | trim }}"

# An asset's event starts a run that has no logical date.
RUN_DATE = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
# {run_date} names a folder or file for each day, so that a backfill reads that day's products.
PRODUCTS = (
    "{{ var.value.get('catalog_products', '') | trim"
    " | replace('{run_date}', (dag_run.logical_date or dag_run.run_after) | ds) }}"
)
# Airflow's own run id, the same for all retries. The job keeps it as the run's trigger.
RUN_ID = "{{ run_id }}"

# One run at a time, retries, and alerts.
EVERY_DAG: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    # The first run after a pause reads all changes since, so missed days are not repeated.
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {
        # After 5, 10 and 20 minutes, to which Airflow adds up to as much again: long enough for a
        # cluster that restarts, short enough for a night.
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(hours=1),
        "execution_timeout": timedelta(hours=1),
        "on_failure_callback": keep_error,
    },
    "on_failure_callback": report_failed_run,
    "tags": ["catalog"],
}

JOB = "enrich_catalog.py"
TABLES = {"--config": CONFIG, "--database": DATABASE}

_STAGED_RUN = "{{ ti.xcom_pull(task_ids='stage')['run_id'] }}"

# The steps after `stage` take minutes and publish the night's result: they go before any other
# DAG's stage, which takes hours.
_BEFORE_ANY_STAGE = 2


def add_refresh(checkpoint: str = "", *, full_refresh: bool = False) -> SparkJob:
    """Add the steps to the DAG that is being defined; return the first step."""
    stage = SparkJob(
        task_id="stage",
        job=JOB,
        flags={
            **TABLES,
            "--catalog": PRODUCTS,
            "--checkpoint": checkpoint,
            "--run-date": RUN_DATE,
            "--run-id": RUN_ID,
            "--full-refresh": full_refresh,
            "--no-publish": True,
        },
        # A blocked run has staged its rows, so this task succeeds: the gate stops the run.
        accepted=(DONE, NOT_PUBLISHED),
        execution_timeout=timedelta(hours=12),
    )
    # Each attempt has its own run id: a retry of `stage` is another run.
    gate(stage.output) >> add_publish(_STAGED_RUN, checkpoint=checkpoint)
    return stage


# The gate takes the pool too. Otherwise another DAG's stage would start while the gate runs,
# because `publish` is not in the queue yet.
@task(pool=POOL, weight_rule="absolute", priority_weight=_BEFORE_ANY_STAGE)
def gate(summary: dict[str, Any] | None) -> None:
    """Pass a run that was validated and has products to publish."""
    if summary is None:
        raise AirflowFailException("stage left no result. Was it marked as success? Clear stage")
    counts = summary["counts"]
    if summary["outcome"] == "blocked":
        publish = "trigger publish_blocked_run with this run id and a reason, or "
        report = f" (report: {summary['report']})" if summary["report"] else ""
        raise AirflowFailException(
            f"run {summary['run_id']} is blocked: {summary['error']}. Look at it{report}; then "
            f"{publish if counts.get('answered') else ''}correct the cause and clear stage"
        )
    if summary["outcome"] != "staged":
        raise AirflowSkipException(f"nothing to publish among {counts['read']:,} products")
    log.info("run %s may be published: %s", summary["run_id"], counts)


def add_publish(run_id: str, *, checkpoint: str, reason: str = "") -> SparkJob:
    """Add the step that publishes a staged run and notifies the table's consumers."""
    return SparkJob(
        task_id="publish",
        job=JOB,
        flags={
            **TABLES,
            "--catalog": PRODUCTS,
            "--checkpoint": checkpoint,
            "--publish-run": run_id,
            "--reason": reason,
        },
        outlets=[PRODUCT_ATTRIBUTES],
        priority_weight=_BEFORE_ANY_STAGE,
    )
