"""Every night, and whenever the product table was written: enriches what is new or changed.

A range of past days, in order: Airflow's own backfill of this DAG.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout

from catalog_tasks.alerts import keep_error
from catalog_tasks.assets import PRODUCT_TABLE
from catalog_tasks.every_dag import EVERY_DAG
from catalog_tasks.product_table import is_written, why_not_written
from catalog_tasks.refresh import add_refresh
from catalog_tasks.settings import PRODUCTS


def keep_sensor_error(context: dict[str, Any]) -> None:
    """Keeps the error, of a timeout with the path and why it was waited for."""
    found = ""
    if isinstance(context.get("exception"), AirflowSensorTimeout):
        (products,) = context["ti"].task.op_args
        found = why_not_written(Path(products))
    keep_error(context, found)


def refuse_unfinished_products(context: dict[str, Any]) -> None:
    """Stops a try of `stage` while somebody writes the products; the next try may find them whole.

    Since the sensor looked, `stage` may have waited for hours, or have been cleared.
    """
    table = Path(context["ti"].task.flags["--catalog"])
    if table.is_absolute() and (found := why_not_written(table)):
        raise AirflowException(f"nothing was read, which may pass: {found}")


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
        """Waits for a local file or folder of products, and until nobody writes to it.

        A table's name or a URI cannot be looked at from here: they are the job's to find, and
        whoever writes them can say so by an event of the asset product_table.
        """
        table = Path(products)
        return not table.is_absolute() or is_written(table)

    wait_for_products(PRODUCTS) >> add_refresh(before_stage=refuse_unfinished_products)
