"""By hand: publishes a run that the gate has stopped, after a person has looked at it.

The reason is kept in the ledger, `enrichment_runs`.
"""

from airflow.sdk import DAG, Param

from catalog_tasks.every_dag import EVERY_DAG
from catalog_tasks.refresh import add_publish

with DAG(
    "publish_blocked_run",
    schedule=None,
    # Blanks around a value are cut off. Blanks alone are refused: without a run id the job would
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
            description="Checkpoint that the run was told; empty: the job's configuration's.",
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
