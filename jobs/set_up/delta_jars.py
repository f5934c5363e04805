"""Delta's jars beside Spark's own, so that a plain `spark-submit` needs no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from jobs.set_up.console import SetUpError
from jobs.set_up.environment import VENV
from jobs.set_up.spark import own_environment

DELTA_VERSION = "4.4.0"  # pyproject.toml pins the same; a test compares the two
DELTA_PACKAGE = f"io.delta:delta-spark_4.1_2.13:{DELTA_VERSION}"
DELTA_GROUPS = ("io.delta", "io.unitycatalog")
DELTA_MAIN_JAR = f"delta-spark_4.1_2.13-{DELTA_VERSION}.jar"

GET_JARS = (
    "The first set-up needs the network. Behind a proxy, Java wants SPARK_SUBMIT_OPTS="
    "'-Dhttps.proxyHost=... -Dhttps.proxyPort=...'; behind a mirror, Spark wants "
    "DEFAULT_ARTIFACT_REPOSITORY, or spark.jars.ivySettings in $SPARK_CONF_DIR/spark-defaults.conf."
)


def fetch_delta_jars(spark_jars: Path) -> None:
    """Resolves Delta's jars with Spark's own resolver and adds them to Spark's."""
    with tempfile.TemporaryDirectory(prefix="delta-jars-", dir=VENV) as folder:
        resolve_delta_jars(Path(folder))
        add_delta_jars(sorted(Path(folder, "jars").glob("*.jar")), spark_jars)


def resolve_delta_jars(folder: Path) -> None:
    """Downloads Delta and all that it depends on into `folder/jars`."""
    application = folder / "resolve_only.py"
    application.touch()
    command = ["spark-submit", "--master", "local[1]", "--packages", DELTA_PACKAGE]
    command += ["--conf", f"spark.jars.ivy={folder}", str(application)]
    log = VENV / "delta-jars.log"
    with log.open("w") as log_file:
        resolved = subprocess.run(
            command, env=resolver_environment(folder), stdout=log_file, stderr=subprocess.STDOUT
        )
    if resolved.returncode != 0:
        raise SetUpError(f"Spark cannot fetch {DELTA_PACKAGE}, {log} says why.\n{GET_JARS}")


def resolver_environment(home: Path) -> dict[str, str]:
    """Returns variables with which `spark-submit` is that of `.venv` and reads no Maven cache.

    A pom without its jar in ~/.m2, as other build tools leave there, makes the resolver fail.
    """
    environment = own_environment()
    options = os.environ.get("SPARK_SUBMIT_OPTS", "")
    environment["SPARK_SUBMIT_OPTS"] = f'{options} -Duser.home="{home}"'.lstrip()
    return environment


def add_delta_jars(resolved_jars: list[Path], spark_jars: Path) -> None:
    """Copies Delta's own jars beside Spark's, and none of what Delta shares with Spark.

    Args:
        resolved_jars: as the resolver names them, `group_artifact-version.jar`.
        spark_jars: the folder `jars` of the installed pyspark.
    """
    jars = {}
    for jar in resolved_jars:
        group, name = jar.name.split("_", 1)
        if group in DELTA_GROUPS:
            jars[name] = jar
    # The main jar comes last: where it is, the others are too, and nothing is fetched again.
    for name in sorted(jars, key=lambda name: name == DELTA_MAIN_JAR):
        replace_jar(spark_jars / name, jars[name])


def artifact_of(jar_name: str) -> str:
    """Returns a jar's name without version and Scala version: `delta-spark`."""
    return re.sub(r"(_[\d.]+)*-\d.*$", "", jar_name)


def replace_jar(target: Path, source: Path) -> None:
    """Copies a jar whole or not at all, and removes other versions of it."""
    for old in target.parent.glob("*.jar"):
        if artifact_of(old.name) == artifact_of(target.name):
            old.unlink()
    partial = target.with_suffix(".part")
    shutil.copyfile(source, partial)
    partial.replace(target)
