"""Steps of every refresh: stage, gate, publish.

Each is a task of its own, so that a person can check the run in between, and clear or mark a task.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog_tasks.assets import PRODUCT_ATTRIBUTES
from catalog_tasks.settings import CONFIG, DATABASE, PRODUCTS, RUN_DATE, RUN_ID
from catalog_tasks.spark_job import DONE, NOT_PUBLISHED, POOL, SparkJob

log = logging.getLogger(__name__)

JOB = "enrich_catalog.py"
TABLES = {"--config": CONFIG, "--database": DATABASE}

_STAGED_RUN = "{{ ti.xcom_pull(task_ids='stage')['run_id'] }}"

# The steps after `stage` take minutes and publish the night's result: they go before any other
# DAG's stage, which takes hours.
_BEFORE_ANY_STAGE = 2


def add_refresh(
    checkpoint: str = "",
    *,
    full_refresh: bool = False,
    before_stage: Callable[[Any], None] | None = None,
) -> SparkJob:
    """Add the steps to the DAG that is being defined; return the first step.

    `before_stage` is called with Airflow's context at the start of each try, and may raise.
    """
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
        pre_execute=before_stage,
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
