"""What the machine has: the Python that all needs, and the Java that Spark would choose."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from jobs.set_up.environment import VENV

OLDEST_PYTHON = (3, 11)
SPARK_JAVAS = (17, 21)  # what Spark 4.1 is built and tested for
# Leads to the JAVA_HOME that a set-up was given last; jobs/conf/spark/spark-env.sh follows it too.
GIVEN_JAVA = VENV / "java_home"


def find_python_problem(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> str | None:
    """Says why this Python will not do, or returns None."""
    if version >= OLDEST_PYTHON:
        return None
    found, wanted = (".".join(map(str, numbers)) for numbers in (version, OLDEST_PYTHON))
    return (
        f"Python {wanted} or newer is needed, this is {found} ({sys.executable}).\n"
        f"Install one (Debian, Ubuntu: apt install python{wanted} python{wanted}-venv; macOS: brew "
        f"install python@{wanted}) and name it: make PYTHON=python{wanted} demo."
    )


def find_venv_problem() -> str | None:
    """Says which module for virtual environments is missing, or returns None."""
    # Debian packages Python without them.
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    return (
        f"{sys.executable} cannot make virtual environments: no module {' and '.join(missing)}.\n"
        f"Install it (Debian, Ubuntu: apt install {package})."
    )


def find_path_problem(checkout: Path) -> str | None:
    """Says which letters in the path of the checkout are in the way, or returns None."""
    odd = sorted(set("#$") & set(str(checkout)))
    if not odd:
        return None
    return (
        f"The path of this folder has a {' and a '.join(odd)} in it ({checkout}), which Spark or "
        "make take for something else: move the checkout."
    )


def find_java_problem() -> str | None:
    """Says why Spark cannot run with the Java that it would choose, or returns None."""
    java, home = find_java(), find_java_home()
    chosen_by = f"JAVA_HOME is {home}" if home else "JAVA_HOME is not set, PATH decides"
    if home and not os.environ.get("JAVA_HOME"):
        chosen_by = f"JAVA_HOME is not set, and was {home} in an earlier set-up"
    wanted = " or ".join(map(str, SPARK_JAVAS))
    if java is None:
        return f"Java {wanted} is needed, none was found ({chosen_by})."
    # A macOS without Java has a /usr/bin/java that only fails.
    answer = subprocess.run([str(java), "-version"], capture_output=True, text=True)
    version = parse_java_version(answer.stderr)
    if version is None:
        return f"Java {wanted} is needed, {java} ({chosen_by}) does not run."
    if version not in SPARK_JAVAS:
        return f"Java {wanted} is needed, {java} ({chosen_by}) is Java {version}."
    return None


def find_java() -> Path | None:
    """Finds Java where Spark's scripts look for it: in `find_java_home`, else on PATH."""
    home = find_java_home()
    java = shutil.which(str(Path(home, "bin", "java")) if home else "java")
    return Path(java) if java else None


def find_java_home() -> str | None:
    """Returns JAVA_HOME; where it is not set, what it was in a set-up, if that still is there."""
    given = str(GIVEN_JAVA.readlink()) if (GIVEN_JAVA / "bin" / "java").exists() else None
    return os.environ.get("JAVA_HOME") or given


def remember_java_home() -> None:
    """Lets JAVA_HOME hold where it is not set, too: cron and services know no user's variables."""
    if not os.environ.get("JAVA_HOME"):
        return
    home = Path(os.environ["JAVA_HOME"]).absolute()
    if not (GIVEN_JAVA.is_symlink() and GIVEN_JAVA.readlink() == home):
        GIVEN_JAVA.unlink(missing_ok=True)
        GIVEN_JAVA.symlink_to(home)


def parse_java_version(answer: str) -> int | None:
    """Reads the feature release, such as 17, out of what `java -version` prints."""
    match = re.search(r'version "(?:1\.)?(\d+)', answer)  # Java 8 still called itself 1.8
    return int(match.group(1)) if match else None
