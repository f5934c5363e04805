"""A refresh in a session of Spark Connect, which has no Java."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from own_metastore import derby
from own_process import run_script

pytestmark = [pytest.mark.spark, pytest.mark.long]

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


def test_a_remote_session_publishes_and_rolls_back(tmp_path):
    if find_spec("grpc_status") is None:
        pytest.skip("the packages of the extra connect are missing: the claim is NOT tested")
    settings = _SETTINGS | {"spark.sql.warehouse.dir": str(tmp_path / "warehouse")}
    conf = tmp_path / "conf" / "spark-defaults.conf"
    conf.parent.mkdir()
    conf.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    script = Path(__file__).with_name("refresh_remotely.py")
    told, _ = run_script(
        script,
        tmp_path,
        "spark_catalog.enriched",
        SPARK_REMOTE="local[2]",
        SPARK_CONF_DIR=str(conf.parent),
        SPARK_TESTING="1",  # The server then listens on a free port.
    )
    first, changed = told["first"], told["changed"]
    assert first["published"] == first["encoded"] == 40
    assert changed["published"] == changed["encoded"] == 1
    assert told["state"] == "rolled_back" and told["is_restored"]
    assert told["files"]["encodings"] == 1, "four chunks, joined by OPTIMIZE"
    assert told["folders_left"] == 0
    assert told["partitions"] == ["007", "1e3"], "as text"
