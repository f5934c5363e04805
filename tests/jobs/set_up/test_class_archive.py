"""The archive of classes for quicker starts: when it is kept, and how long it serves."""

import shutil
import subprocess
import time
from pathlib import Path

import pyspark
import pytest
from long_tests import in_full
from shell_scripts import make_executable

from jobs.set_up import class_archive, spark
from jobs.set_up.environment import ROOT


@pytest.mark.parametrize(("exit_code", "made"), [(0, True), (1, False)])
def test_an_archive_of_classes_is_kept_only_from_a_java_that_ended_well(
    exit_code: int, made: bool, monkeypatch, tmp_path: Path, capsys
):
    # Writes where it is told to, as Java does when it ends.
    written = '"$(sed \'s/.*AtExit="\\([^"]*\\)".*/\\1/\' <<< "$*")"'
    submit = tmp_path / "bin" / "spark-submit"
    make_executable(submit, f"echo classes > {written}\nexit {exit_code}")
    monkeypatch.setattr(spark, "VENV", tmp_path)
    monkeypatch.setattr(class_archive, "VENV", tmp_path)
    monkeypatch.setattr(class_archive, "CLASS_ARCHIVE", tmp_path / "classes.jsa")
    monkeypatch.setattr(class_archive, "ARCHIVED_BY", tmp_path / "archived_by.txt")
    (tmp_path / "classes.jsa").write_text("of an older set-up")
    class_archive.archive_classes(tmp_path)
    assert (tmp_path / "classes.jsa").exists() == made
    assert ("starts slower" in capsys.readouterr().out) != made


@pytest.mark.parametrize("changed", ["jars/delta-spark.jar", "spark-defaults.conf", "jdk/bin/java"])
def test_an_archive_of_classes_serves_until_jars_defaults_or_java_change(
    changed: str, monkeypatch, tmp_path: Path, fake_java
):
    fake_java('openjdk version "17.0.15" 2025-04-15')
    jars = tmp_path / "jars"
    jars.mkdir()
    (tmp_path / "spark-defaults.conf").touch()
    monkeypatch.setattr(class_archive, "TEMPLATES", tmp_path)
    monkeypatch.setattr(class_archive, "CLASS_ARCHIVE", tmp_path / "classes.jsa")
    assert not class_archive.is_archive_current(jars)
    time.sleep(0.02)
    (tmp_path / "classes.jsa").touch()
    assert class_archive.is_archive_current(jars)
    time.sleep(0.02)
    (tmp_path / changed).touch()
    assert not class_archive.is_archive_current(jars)


@in_full
@pytest.mark.spark
def test_classes_are_loaded_also_where_the_defaults_name_a_shared_metastore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(Path(pyspark.__file__).parent / "conf", conf)
    with (conf / "spark-defaults.conf").open("a") as defaults:
        defaults.write((ROOT / "jobs" / "conf" / "shared_metastore.conf").read_text())
    monkeypatch.setenv("SPARK_CONF_DIR", str(conf))
    loader = subprocess.run(
        ["spark-submit", class_archive.CLASS_LOADER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert loader.returncode == 0, loader.stderr[-3000:]
