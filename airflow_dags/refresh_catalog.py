"""Refresh of new and changed products, nightly and after a write to their table.

For a range of past days, in order, use Airflow's own backfill of this DAG.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowSensorTimeout

from catalog_tasks.alerts import keep_error
from catalog_tasks.product_table import is_written, why_not_written
from catalog_tasks.refresh import EVERY_DAG, PRODUCT_TABLE, PRODUCTS, add_refresh


def keep_sensor_error(context: dict[str, Any]) -> None:
    """Keep a task's error; for a timeout, with the path and the state of the table."""
    found = ""
    if isinstance(context.get("exception"), AirflowSensorTimeout):
        (products,) = context["ti"].task.op_args
        found = why_not_written(Path(products))
    keep_error(context, found)


with DAG(
    "refresh_catalog",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 3 * * *", timezone="UTC"), assets=[PRODUCT_TABLE]
    ),
    doc_md=__doc__,
    **EVERY_DAG,
):

    @task.sensor(
        mode="reschedule",
        poke_interval=timedelta(minutes=1),
        timeout=timedelta(hours=6),
        on_failure_callback=keep_sensor_error,
    )
    def wait_for_products(products: str) -> bool:
        """Wait until a local product table exists and is complete.

        Tables by name or URI cannot be checked from here. Their writers can send an event of the
        asset product_table.
        """
        table = Path(products)
        return not table.is_absolute() or is_written(table)

    wait_for_products(PRODUCTS) >> add_refresh()
