"""Wait for a product table at a local path that is complete, by its files.

For the job half a table is a wrong input, and the task is not retried.
"""

import logging
import mimetypes
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSensorTimeout

from catalog_tasks.alerts import keep_error

QUIET_S = 60

# Spark writes files there before it moves them to their places.
_UNFINISHED = ("_temporary", ".spark-staging")

log = logging.getLogger(__name__)


def is_written(path: Path) -> bool:
    """Return whether a table exists and has not been written to for a minute.

    If not, the reason is logged. Images are left out: they may change without the table, and there
    may be millions of them.
    """
    why_not = why_not_written(path)
    if why_not:
        log.info("waiting for products: %s", why_not)
    return not why_not


def why_not_written(path: Path) -> str:
    """Return why a table is not complete, "" if it is."""
    if any((folder / "_delta_log").is_dir() for folder in (path, path / "products")):
        return ""  # Delta shows whole commits only
    if not path.exists():
        return f"{path} is not there"
    files = [path] if path.is_file() else []
    for folder, folders, names in os.walk(path):
        if unfinished := [name for name in folders if name.startswith(_UNFINISHED)]:
            holds = Path(folder, unfinished[0])
            return f"{path} is being replaced, or its writer was killed: it holds {holds}"
        files += [Path(folder, name) for name in names if not _is_image(name)]
    times = []
    for file in files:
        with suppress(FileNotFoundError):
            status = file.stat()
            # Unpacked files may have an mtime in the future, of a time zone further east. Then
            # ctime counts, which no program can set.
            times.append(min(status.st_mtime, status.st_ctime))
    if not times:
        return f"{path} holds no files but images"
    quiet_s = time.time() - max(times)
    return "" if quiet_s > QUIET_S else f"{path} was written to {quiet_s:.0f} s ago"


def _is_image(name: str) -> bool:
    kind, _ = mimetypes.guess_type(name, strict=False)
    return kind is not None and kind.startswith("image/")


def keep_sensor_error(context: dict[str, Any]) -> None:
    """Keep a task's error; for a timeout, with the path and the state of the table."""
    found = ""
    if isinstance(context.get("exception"), AirflowSensorTimeout):
        (products,) = context["ti"].task.op_args
        found = why_not_written(Path(products))
    keep_error(context, found)


@task.sensor(
    mode="reschedule",
    poke_interval=timedelta(minutes=1),
    timeout=timedelta(hours=6),
    on_failure_callback=keep_sensor_error,
)
def wait_for_products(products: str) -> bool:
    """Wait until a local product table exists and is complete.

    Tables by name or URI cannot be checked from here. Their writers can send an event of the asset
    product_table.
    """
    table = Path(products)
    return not table.is_absolute() or is_written(table)
