"""Spark in `.venv`: its defaults and its environment, so that `spark-submit` needs no flags."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from jobs.set_up.environment import ROOT, VENV
from jobs.set_up.java import OWN_JAVA, offer_own_java
from jobs.set_up.machine import GIVEN_JAVA, find_java_home

TEMPLATES = ROOT / "jobs" / "conf" / "spark"
LAKEHOUSE = ROOT / "lakehouse"
CLASS_ARCHIVE = VENV / "spark-classes.jsa"


def write_spark_conf(spark_home: Path) -> None:
    """Writes Spark's defaults, with the absolute paths filled in, where Spark finds them."""
    conf = spark_home / "conf"
    conf.mkdir(exist_ok=True)
    paths = {
        "lakehouse": LAKEHOUSE,
        "jars": spark_home / "jars",
        "class_archive": CLASS_ARCHIVE,
        "own_java": OWN_JAVA,
        "given_java": GIVEN_JAVA,
    }
    for template in TEMPLATES.iterdir():
        text = template.read_text()
        for name, path in paths.items():
            text = text.replace(f"{{{name}}}", str(path))
        (conf / template.name).write_text(text)
    # Spark's own script finds no spark-env.sh in a folder with a space in its name.
    script = spark_home / "bin" / "load-spark-env.sh"
    script.write_text(script.read_text().replace(". ${SPARK_ENV_SH}\n", '. "${SPARK_ENV_SH}"\n'))


def own_environment() -> dict[str, str]:
    """Returns the environment variables with which `spark-submit` is that of `.venv`."""
    others = ("SPARK_HOME", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in others}
    environment["PATH"] = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)])
    home = str(OWN_JAVA) if OWN_JAVA.exists() else find_java_home()
    if home:
        environment["JAVA_HOME"] = home
    return environment


def choose_java(own: bool) -> None:
    """Lets Spark's scripts find the Java of `.venv`, or again that of the machine."""
    if own:
        offer_own_java()
    elif OWN_JAVA.exists():
        shutil.rmtree(OWN_JAVA)
        CLASS_ARCHIVE.unlink(missing_ok=True)  # of that Java's classes
