"""Manual publication of a run that the gate has blocked, after a person's review.

The reason is kept in the ledger, `enrichment_runs`.
"""

from airflow.sdk import DAG, Param

from catalog_tasks.every_dag import EVERY_DAG
from catalog_tasks.refresh import add_publish

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
    doc_md=__doc__,
    **EVERY_DAG,
):
    add_publish(
        "{{ params.run_id | trim }}",
        reason="{{ params.reason | trim }}",
        checkpoint="{{ params.checkpoint | trim }}",
    )
