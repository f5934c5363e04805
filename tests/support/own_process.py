"""Scripts of the tests, each in a process and a session of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from own_metastore import derby
from pyspark.sql import SparkSession

SUPPORT = Path(__file__).parent


def with_support(**more: str) -> dict[str, str]:
    """Return an environment in which a script finds what tests find, and `more`."""
    paths = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])])
    return {**os.environ, "PYTHONPATH": paths, "PYSPARK_PYTHON": sys.executable, **more}


def run_script(script: Path, *arguments: object, **more: str) -> tuple[dict[str, Any], str]:
    """Run a script that succeeds; return the JSON of its last line, and its standard error."""
    ended = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=with_support(**more),
        timeout=1_800,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    return json.loads(ended.stdout.splitlines()[-1]), ended.stderr


def open_local(folder: Path, settings: dict[str, str]) -> SparkSession:
    """Open a small session whose metastore and tables lie in the folder."""
    own = {
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.ui.enabled": "false",
        **derby(f";databaseName={folder / 'metastore'}"),
    }
    return SparkSession.builder.config(map=own | settings).enableHiveSupport().getOrCreate()
