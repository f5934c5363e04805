"""A refresh in a session of Spark Connect, which has no Java."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from own_metastore import derby

pytestmark = [pytest.mark.spark, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.catalogImplementation": "hive",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Derby's log would go to the working directory.
    "spark.driver.extraJavaOptions": "-Dderby.stream.error.file=/dev/null",
    **derby("memory:remote"),
}


def test_a_remote_session_publishes_and_rolls_back(tmp_path: Path) -> None:
    if find_spec("grpc_status") is None:
        pytest.skip("the packages of the extra connect are missing: the claim is NOT tested")
    settings = _SETTINGS | {"spark.sql.warehouse.dir": str(tmp_path / "warehouse")}
    conf = tmp_path / "conf" / "spark-defaults.conf"
    conf.parent.mkdir()
    conf.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    script = Path(__file__).with_name("refresh_remotely.py")
    own = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "support"), *filter(None, sys.path)]),
        "SPARK_REMOTE": "local[2]",
        "SPARK_CONF_DIR": str(conf.parent),
        # The server then listens on a free port.
        "SPARK_TESTING": "1",
    }
    ended = subprocess.run(
        [sys.executable, script, tmp_path, "spark_catalog.enriched"],
        capture_output=True,
        text=True,
        env=os.environ | own,
        timeout=1_800,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    first, again, changed = (told[name] for name in ("first", "again", "changed"))
    assert first["published"] == first["encoded"] == 40
    assert (again["due"], again["unchanged"], told["commits_of_doing_nothing"]) == (0, 40, 0)
    assert changed["published"] == changed["encoded"] == 1
    assert told["state"] == "rolled_back" and told["is_restored"]
    assert told["files"]["encodings"] == 1, "four chunks, joined by OPTIMIZE"
    assert told["folders_left"] == 0
    assert told["partitions"] == ["007", "1e3"], "as text"
