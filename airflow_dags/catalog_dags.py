"""The DAGs: nightly and full refresh, maintenance, publication of a blocked run."""

from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param

from catalog_tasks.product_table import wait_for_products
from catalog_tasks.refresh import (
    CONFIG,
    DATABASE,
    EVERY_DAG,
    PRODUCT_TABLE,
    PRODUCTS,
    add_publish,
    add_refresh,
)
from catalog_tasks.spark_job import SparkJob

with DAG(
    "refresh_catalog",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 3 * * *", timezone="UTC"), assets=[PRODUCT_TABLE]
    ),
    doc_md="""Refresh of new and changed products, nightly and after a write to their table.

For a range of past days, in order, use Airflow's own backfill of this DAG.
""",
    **EVERY_DAG,
):
    wait_for_products(PRODUCTS) >> add_refresh()

with DAG(
    "maintain_tables",
    schedule=CronTriggerTimetable("0 12 * * 0", timezone="UTC"),
    params={
        "retention_hours": Param(
            720, type="integer", minimum=168, description="Hours that time travel must reach back."
        )
    },
    doc_md="""Weekly maintenance: compact the tables' files, delete unneeded rows and files.""",
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

with DAG(
    "publish_blocked_run",
    schedule=None,
    # Blanks around a value are removed. Blanks alone are refused: without a run id the job would
    # refresh the catalog.
    params={
        "run_id": Param(
            type="string", pattern=r"\S", description="Run id, as the failed gate's log names it."
        ),
        "reason": Param(
            type="string", pattern=r"\S", description="Why its labels are right after all."
        ),
        "checkpoint": Param(
            "",
            type="string",
            description="Checkpoint of the run; empty: that of the job's configuration.",
        ),
    },
    doc_md="""Manual publication of a run that the gate has blocked, after a person's review.

The reason is kept in the ledger, `enrichment_runs`.
""",
    **EVERY_DAG,
):
    add_publish(
        "{{ params.run_id | trim }}",
        reason="{{ params.reason | trim }}",
        checkpoint="{{ params.checkpoint | trim }}",
    )

with DAG(
    "reenrich_catalog",
    schedule=None,
    params={
        "checkpoint": Param(
            "",
            type="string",
            description="Checkpoint folder or URI; empty: the one of the job's configuration.",
        )
    },
    doc_md="""Manual full refresh: encode and answer every product again, changed or not.

To keep a new checkpoint, name it in the job's configuration. The next nightly refresh uses the
checkpoint of the configuration again.
""",
    **EVERY_DAG,
):
    add_refresh(checkpoint="{{ params.checkpoint | trim }}", full_refresh=True)
