"""What is written for Spark: its defaults, and its environment."""

import os
import re
import subprocess
from pathlib import Path

import pyspark
import pytest

from jobs.set_up import spark
from jobs.set_up.environment import ROOT


def test_sparks_defaults_have_no_placeholder_left_and_name_the_lakehouse(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "load-spark-env.sh").touch()
    spark.write_spark_conf(tmp_path)
    conf = tmp_path / "conf"
    names = {"spark-defaults.conf", "spark-env.sh", "log4j2.properties"}
    assert {file.name for file in conf.iterdir()} == names
    defaults = (conf / "spark-defaults.conf").read_text()
    assert not re.search(r"\{\w+\}", defaults)
    assert f"databaseName={ROOT}/lakehouse/metastore;" in defaults
    assert f"{tmp_path}/jars/*" in defaults


@pytest.mark.parametrize(
    ("given", "locale"),
    [
        ({}, "C.UTF-8"),
        ({"LANG": "C"}, "C.UTF-8"),
        ({"LANG": "de_DE.utf8"}, ""),
        ({"LC_ALL": "C"}, "C.UTF-8"),
    ],
)
def test_spark_finds_its_environment_in_a_folder_with_a_space_and_reads_names_as_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], locale: str
):
    home = tmp_path / "our shop" / "pyspark"
    script = home / "bin" / "load-spark-env.sh"
    script.parent.mkdir(parents=True)
    found = (Path(pyspark.__file__).parent / "bin" / "load-spark-env.sh").read_text()
    script.write_text(found.replace('. "${SPARK_ENV_SH}"', ". ${SPARK_ENV_SH}"))  # as it came
    monkeypatch.setattr(spark, "OWN_JAVA", tmp_path / "our java")
    monkeypatch.setattr(spark, "GIVEN_JAVA", tmp_path / "given java")
    spark.write_spark_conf(home)

    def show(variables: str) -> tuple[str, str]:
        shown = subprocess.run(
            ["bash", "-c", f'. "$SPARK_HOME/bin/load-spark-env.sh"; echo "{variables}"'],
            env={"SPARK_HOME": str(home), "PATH": os.defpath, **given},
            capture_output=True,
            text=True,
        )
        return shown.stdout, shown.stderr

    assert show("$SPARK_LOCAL_IP $LC_ALL $JAVA_HOME") == (f"127.0.0.1 {locale} \n", "")
    for folder in ("given java", "our java"):  # what the set-up has brought goes before
        start = tmp_path / folder / "bin" / "java"
        start.parent.mkdir(parents=True)
        start.touch(0o755)
        assert show("$JAVA_HOME") == (f"{tmp_path}/{folder}\n", "")
    (tmp_path / "our java" / "bin" / "java").unlink()
    given = given | {"JAVA_HOME": "/opt/jdk"}
    assert show("$JAVA_HOME") == ("/opt/jdk\n", "")
