"""Weekly maintenance: compact the tables' files, delete unneeded rows and files."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from catalog_tasks.every_dag import EVERY_DAG
from catalog_tasks.settings import CONFIG, DATABASE
from catalog_tasks.spark_job import SparkJob

with DAG(
    "maintain_tables",
    schedule=CronTriggerTimetable("0 12 * * 0", timezone="UTC"),
    params={
        "retention_hours": Param(
            720, type="integer", minimum=168, description="Hours that time travel must reach back."
        )
    },
    doc_md=__doc__,
    **EVERY_DAG,
):
    SparkJob(
        task_id="maintain",
        job="maintain_tables.py",
        flags={
            "--config": CONFIG,
            "--database": DATABASE,
            "--retention-hours": "{{ params.retention_hours }}",
        },
        execution_timeout=timedelta(hours=6),
    )
