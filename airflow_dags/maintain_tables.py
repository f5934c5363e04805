"""Every Sunday: compacts the tables' files, and deletes what no reader needs any more."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from catalog_tasks.alerts import report_failed_run
from catalog_tasks.refresh import DEFAULTS
from catalog_tasks.settings import DATABASE
from catalog_tasks.spark_job import SparkJob

with DAG(
    "maintain_tables",
    schedule=CronTriggerTimetable("0 12 * * 0", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    on_failure_callback=report_failed_run,
    params={
        "retention_hours": Param(
            720, type="integer", minimum=168, description="How far back time travel must reach."
        )
    },
    doc_md=__doc__,
    tags=["catalog"],
):
    SparkJob(
        task_id="maintain",
        job="maintain_tables.py",
        flags={"--database": DATABASE, "--retention-hours": "{{ params.retention_hours }}"},
        execution_timeout=timedelta(hours=6),
    )
