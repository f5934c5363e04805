"""Spark's classes in an archive, with which every Spark command starts seconds sooner."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from jobs.set_up.console import say
from jobs.set_up.environment import VENV
from jobs.set_up.java import find_chosen_java
from jobs.set_up.spark import CLASS_ARCHIVE, TEMPLATES, own_environment

CLASS_LOADER = Path(__file__).with_name("load_classes.py")
ARCHIVED_BY = VENV / "spark-classes.txt"  # the Javas with which one was tried


def is_archive_current(spark_jars: Path) -> bool:
    """Returns whether the archive of classes is younger than all that decides what is in it."""
    java = find_chosen_java()
    if java is None:
        return False
    sources = (spark_jars, CLASS_LOADER, TEMPLATES / "spark-defaults.conf", java)
    # By ctime, when a file came to this machine: packages set mtime to when it was built.
    try:
        made = CLASS_ARCHIVE.stat().st_ctime
        return all(source.stat().st_ctime < made for source in sources)
    except FileNotFoundError:
        return False


def is_java_archived() -> bool:
    """Returns whether an archive was tried with the Java that Spark starts here, made or not.

    A Java silently ignores an archive that another one made, or itself before an update.
    """
    return ARCHIVED_BY.exists() and identify_java() in ARCHIVED_BY.read_text().splitlines()


def remember_java() -> None:
    """Records that an archive was tried with the Java that Spark starts here.

    It is tried once with each: two Javas in turns would replace each other's archive for ever.
    """
    with ARCHIVED_BY.open("a") as javas:
        javas.write(f"{identify_java()}\n")


def identify_java() -> str | None:
    """Returns the path of the Java that Spark starts here and when it came; None without one."""
    java = find_chosen_java()
    return f"{java.resolve()} {java.stat().st_ctime}" if java else None


def archive_classes(spark_home: Path) -> None:
    """Runs a small job in a Java that writes the classes that it loaded to an archive.

    Without one every Spark command works as well, and starts some seconds later.
    """
    CLASS_ARCHIVE.unlink(missing_ok=True)
    log = VENV / "spark-classes.log"
    conf = spark_home / "conf"
    partial = CLASS_ARCHIVE.with_suffix(".part")
    partial.unlink(missing_ok=True)
    java_options = {
        "-XX:ArchiveClassesAtExit": partial,
        "-Dderby.system.home": VENV,
        "-Dlog4j2.configurationFile": (conf / "log4j2.properties").as_uri(),
    }
    command = ["spark-submit", "--properties-file", str(conf / "spark-defaults.conf"), "--conf"]
    given = " ".join(f'{name}="{value}"' for name, value in java_options.items())
    given += " -XX:TieredStopAtLevel=1"
    command += [f"spark.driver.defaultJavaOptions={given}", str(CLASS_LOADER)]
    # Java makes no archive where a folder in its class path has files, as Spark's own conf has.
    with tempfile.TemporaryDirectory() as empty, log.open("w") as log_file:
        # As spark-env.sh has them.
        settings = {"SPARK_CONF_DIR": empty, "SPARK_LOCAL_IP": "127.0.0.1", "LC_ALL": "C.UTF-8"}
        environment = own_environment() | settings
        ran = subprocess.run(command, env=environment, stdout=log_file, stderr=subprocess.STDOUT)
    if ran.returncode == 0 and partial.exists():
        # Whole or not at all: Java crashes over half of one.
        partial.replace(CLASS_ARCHIVE)
    else:
        say(f"Note: no archive of classes was made, {log} says why. All works, but starts slower.")
    remember_java()
