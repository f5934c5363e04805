"""Makes the environment that every other command runs in: `python3 -m jobs.set_up [--extra test]`.

Creates `.venv`, installs this project into it with pip and sets up its Spark.

Runs with the system's Python before anything is installed: the standard library only, and no
syntax newer than Python 3.7, so that an old Python gets as far as saying that it is too old.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from jobs.set_up.class_archive import archive_classes, is_archive_current, is_java_archived
from jobs.set_up.console import SetUpError, end_with_code, say
from jobs.set_up.delta_jars import DELTA_MAIN_JAR, fetch_delta_jars
from jobs.set_up.environment import (
    ROOT,
    VENV,
    check_package_index,
    create_venv,
    install,
    is_usable,
    make_once,
)
from jobs.set_up.java import HOW_TO_CHOOSE, JAVA_EXTRA, OWN_JAVA
from jobs.set_up.machine import (
    find_java_problem,
    find_path_problem,
    find_python_problem,
    find_venv_problem,
    remember_java_home,
)
from jobs.set_up.spark import choose_java, write_spark_conf

# By pyproject.toml these extras contain others.
IMPLIED = {"test": {"train", "coca"}}
STAMP = "set_up.json"


def main(arguments: list[str] | None = None) -> int:
    """Sets up what is not set up yet; returns the exit code as `end_with_code` does."""
    parser = argparse.ArgumentParser(description="Make the virtual environment .venv.")
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        choices=["bench", "coca", "spark", "test", "train"],
        help="an extra of pyproject.toml to install; spark always is",
    )
    extras = {"spark", *parser.parse_args(arguments).extra}
    extras.update(*(IMPLIED.get(extra, ()) for extra in list(extras)))

    def check_and_set_up() -> None:
        check_machine()
        java_problem = find_java_problem()
        set_up(extras | ({JAVA_EXTRA} if java_problem else set()))
        if not java_problem:
            remember_java_home()
        warn_of_other_spark()

    return end_with_code(check_and_set_up)


def check_machine() -> None:
    """Raises a `SetUpError` that names everything that the machine lacks, all at once."""
    found = (find_path_problem(ROOT), find_python_problem(), find_venv_problem())
    problems = [problem for problem in found if problem]
    if problems:
        raise SetUpError("\n".join(problems))


def set_up(extras: set[str]) -> None:
    """Brings `.venv` up to date with this checkout; touches no network if it already is."""
    make_once(VENV, lambda: is_set_up(extras), lambda: make_environment(extras))


def is_set_up(extras: set[str]) -> bool:
    """Returns whether `.venv` is as these files and extras want it."""
    finished = read_stamp(VENV / STAMP, read_fingerprint(ROOT))
    is_java_chosen = OWN_JAVA.exists() == (JAVA_EXTRA in extras) and is_java_archived()
    return extras <= finished and is_java_chosen and is_usable(VENV)


def make_environment(extras: set[str]) -> None:
    """Makes `.venv`, or brings it up to date."""
    stamp, fingerprint = VENV / STAMP, read_fingerprint(ROOT)
    packages = read_package_fingerprint(ROOT)
    own_java = JAVA_EXTRA in extras
    # What an earlier set-up brought stays wanted: else two that ask for different extras would take
    # turns for ever.
    extras = extras | read_stamp(stamp, packages)
    if own_java:
        say(f"Note: {find_java_problem()} {HOW_TO_CHOOSE}")
    say("[1/5] Making the virtual environment .venv ...")
    create_venv(VENV)
    # Where only Java or Spark's defaults have changed, no package is missing and no network needed.
    if extras - read_stamp(stamp, packages):
        check_package_index(VENV)
        # Killed from here on, the set-up does not count as finished, and is begun again.
        stamp.unlink(missing_ok=True)
        say("[2/5] Installing packages (about 5 GB with torch, some minutes) ...")
        install(VENV, "--editable", f".[{','.join(sorted(extras))}]")
    # Killed from here on, the next set-up finds the packages there, and needs no network for them.
    write_stamp(stamp, extras, packages)
    choose_java(own_java)
    spark_home = next(VENV.glob("lib/python3.*/site-packages/pyspark"))
    say("[3/5] Writing Spark's defaults ...")
    write_spark_conf(spark_home)
    say("[4/5] Fetching Delta's jars for Spark ...")
    if not (spark_home / "jars" / DELTA_MAIN_JAR).exists():
        fetch_delta_jars(spark_home / "jars")
    if not (is_archive_current(spark_home / "jars") and is_java_archived()):
        say("[5/5] Loading Spark's classes once, for quicker starts (about a minute) ...")
        archive_classes(spark_home)
    write_stamp(stamp, extras, packages, fingerprint)
    say("Ready. To use it in this shell: source .venv/bin/activate")


def read_fingerprint(root: Path) -> str:
    """Digests all that decides what a set-up does: the checkout's place and some of its files."""
    return digest_files(root, "pyproject.toml", "jobs/set_up/*.py", "jobs/conf/spark/*")


def read_package_fingerprint(root: Path) -> str:
    """Digests what decides which packages a set-up installs, and from where."""
    return digest_files(root, "pyproject.toml")


def digest_files(root: Path, *patterns: str) -> str:
    """Digests a checkout's place and those of its files."""
    digest = hashlib.sha256(str(root).encode())  # a virtual environment does not survive a move
    for file in sorted(file for pattern in patterns for file in root.glob(pattern)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def read_stamp(stamp: Path, fingerprint: str) -> set[str]:
    """Returns the extras that an earlier set-up installed; none if it was of other files.

    Args:
        stamp: the file that it left.
        fingerprint: from `read_fingerprint`, to ask for a set-up that was finished, or from
            `read_package_fingerprint`, to ask only whether its packages were installed.
    """
    try:
        done = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return set()
    known = (done["fingerprint"], done.get("packages"))
    return set(done["extras"]) if fingerprint in known else set()


def write_stamp(stamp: Path, extras: set[str], packages: str, fingerprint: str = "") -> None:
    """Records that packages with these extras are installed, and whether the set-up is finished."""
    done = {"fingerprint": fingerprint, "packages": packages, "extras": sorted(extras)}
    stamp.write_text(json.dumps(done))


def warn_of_other_spark() -> None:
    """Says which variables would make a plain spark-submit ignore this environment's Spark."""
    names = (
        "SPARK_HOME",
        "SPARK_CONF_DIR",
        "PYSPARK_PYTHON",
        "PYSPARK_DRIVER_PYTHON",
        "PYTHONPATH",
    )
    others = [name for name in names if os.environ.get(name)]
    if others:
        say(f"Note: unset {' '.join(others)}, or spark-submit follows them instead of .venv.")


if __name__ == "__main__":
    sys.exit(main())
