"""By hand: asks about every product again, also about those that have not changed.

For a new checkpoint to stay, name it in the job's configuration: the next nightly refresh follows
the configuration, and would go back to the checkpoint that is named there.
"""

from airflow.sdk import DAG, Param

from catalog_tasks.every_dag import EVERY_DAG
from catalog_tasks.refresh import add_refresh

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
    doc_md=__doc__,
    **EVERY_DAG,
):
    add_refresh(checkpoint="{{ params.checkpoint | trim }}", full_refresh=True)
