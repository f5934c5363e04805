"""Delta's jars among Spark's own."""

import tomllib
from pathlib import Path

from jobs.set_up import delta_jars
from jobs.set_up.environment import ROOT


def test_only_deltas_own_jars_join_spark_and_replace_their_older_versions(tmp_path: Path):
    spark_jars = tmp_path / "spark"
    resolved_jars = tmp_path / "resolved"
    for folder in (spark_jars, resolved_jars):
        folder.mkdir()
    for kept in ("jackson-core-2.21.2.jar", "hadoop-aws-3.4.2.jar"):
        (spark_jars / kept).touch()
    for older in ("delta-spark_4.0_2.13-4.3.0.jar", "delta-storage-4.3.0.jar"):
        (spark_jars / older).touch()
    for resolved in (
        "com.fasterxml.jackson.core_jackson-core-2.13.5.jar",
        "io.delta_delta-spark_4.1_2.13-4.4.0.jar",
        "io.delta_delta-storage-4.4.0.jar",
        "io.unitycatalog_unitycatalog-client-0.6.0.jar",
    ):
        (resolved_jars / resolved).touch()
    delta_jars.add_delta_jars(sorted(resolved_jars.iterdir()), spark_jars)
    assert sorted(jar.name for jar in spark_jars.iterdir()) == [
        "delta-spark_4.1_2.13-4.4.0.jar",
        "delta-storage-4.4.0.jar",
        "hadoop-aws-3.4.2.jar",
        "jackson-core-2.21.2.jar",
        "unitycatalog-client-0.6.0.jar",
    ]


def test_resolver_reads_no_local_maven_cache_and_no_other_spark(monkeypatch, tmp_path: Path):
    for name in ("SPARK_HOME", "PYTHONPATH"):
        monkeypatch.setenv(name, "/opt/another/spark")
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-Dhttps.proxyHost=proxy")
    environment = delta_jars.resolver_environment(tmp_path)
    assert not {"SPARK_HOME", "PYTHONPATH"} & environment.keys()
    assert environment["SPARK_SUBMIT_OPTS"] == f'-Dhttps.proxyHost=proxy -Duser.home="{tmp_path}"'


def test_delta_jar_and_delta_python_package_are_of_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"delta-spark=={delta_jars.DELTA_VERSION}" in project["optional-dependencies"]["spark"]
