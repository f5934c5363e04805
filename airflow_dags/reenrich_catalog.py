"""By hand: asks about every product again, also about those that have not changed.

For a new checkpoint to stay, name it in the job's configuration: the next nightly refresh follows
the configuration, and would go back to the checkpoint that is named there.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Param

from catalog_tasks.alerts import report_failed_run
from catalog_tasks.refresh import DEFAULTS, add_refresh

with DAG(
    "reenrich_catalog",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    default_args=DEFAULTS,
    on_failure_callback=report_failed_run,
    params={
        "checkpoint": Param(
            "",
            type="string",
            description="Checkpoint folder or URI; empty: the one of the job's configuration.",
        )
    },
    doc_md=__doc__,
    tags=["catalog"],
):
    add_refresh(checkpoint="{{ params.checkpoint }}", full_refresh=True)
