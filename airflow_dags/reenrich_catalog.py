"""Manual full refresh: encode and answer every product again, changed or not.

To keep a new checkpoint, name it in the job's configuration. The next nightly refresh uses the
checkpoint of the configuration again.
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
