"""Makes the environment that every other command runs in: `python3 jobs/set_up.py [--extra test]`.

Creates `.venv`, installs this project into it with pip, and puts Delta's jars beside Spark's own
and Spark's defaults into Spark's `conf`, so that a plain `spark-submit` or `spark-sql` needs
neither flags nor network. Last, it keeps the classes that a job loads in an archive for Java.

Runs with the system's Python before anything is installed: the standard library only, and no
syntax newer than Python 3.7, so that an old Python gets as far as saying that it is too old.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
SPARK_TEMPLATES = ROOT / "jobs" / "conf" / "spark"
LAKEHOUSE = ROOT / "lakehouse"
CLASS_ARCHIVE = VENV / "spark-classes.jsa"

OLDEST_PYTHON = (3, 11)
SPARK_JAVAS = (17, 21)  # what Spark 4.1 is built and tested for
DELTA_VERSION = "4.4.0"  # pyproject.toml pins the same; a test compares the two
DELTA_PACKAGE = f"io.delta:delta-spark_4.1_2.13:{DELTA_VERSION}"
DELTA_GROUPS = ("io.delta", "io.unitycatalog")
DELTA_MAIN_JAR = f"delta-spark_4.1_2.13-{DELTA_VERSION}.jar"

GET_JAVA = (
    "Install one (Debian, Ubuntu: apt install openjdk-17-jre-headless; macOS: brew install "
    "openjdk@17) and set JAVA_HOME to its folder."
)
GET_PACKAGES = (
    "The first set-up needs the network. Behind a mirror or proxy, configure pip as usual "
    "(PIP_INDEX_URL, HTTPS_PROXY); what is already there is kept: run the same command again."
)
GET_JARS = (
    "The first set-up needs the network. Behind a proxy, Java wants SPARK_SUBMIT_OPTS="
    "'-Dhttps.proxyHost=... -Dhttps.proxyPort=...'; behind a mirror, Spark wants "
    "DEFAULT_ARTIFACT_REPOSITORY, or spark.jars.ivySettings in $SPARK_CONF_DIR/spark-defaults.conf."
)


class SetUpError(Exception):
    """Something is missing on this machine; the message says what it is and how to get it."""


def main(arguments: list[str] | None = None) -> int:
    """Sets up what is not set up yet.

    Returns:
        The exit code: 0 ready, 1 something is missing and was named, 130 interrupted.
    """
    parser = argparse.ArgumentParser(description="Make the virtual environment .venv.")
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        choices=["bench", "spark", "test", "train"],
        help="an extra of pyproject.toml to install; spark always is",
    )
    extras = {"spark", *parser.parse_args(arguments).extra}
    try:
        check_machine()
        set_up(extras)
    except SetUpError as error:
        print(f"Set-up stopped. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up interrupted. Run the same command to go on.", file=sys.stderr)
        return 130
    return 0


def check_machine() -> None:
    """Raises a `SetUpError` that names everything that the machine lacks, all at once."""
    problems = [
        problem
        for problem in (find_python_problem(), find_venv_problem(), find_java_problem())
        if problem
    ]
    if problems:
        raise SetUpError("\n".join(problems))


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


def find_java_problem() -> str | None:
    """Says why Spark cannot run with the Java that it would choose, or returns None."""
    java, chosen_by = find_java()
    wanted = " or ".join(map(str, SPARK_JAVAS))
    if java is None:
        return f"Java {wanted} is needed, none was found ({chosen_by}).\n{GET_JAVA}"
    # A macOS without Java has a /usr/bin/java that only fails.
    answer = subprocess.run([java, "-version"], capture_output=True, text=True)
    version = parse_java_version(answer.stderr)
    if version is None:
        return f"Java {wanted} is needed, {java} ({chosen_by}) does not run.\n{GET_JAVA}"
    if version not in SPARK_JAVAS:
        return f"Java {wanted} is needed, {java} ({chosen_by}) is Java {version}.\n{GET_JAVA}"
    return None


def find_java() -> tuple[str | None, str]:
    """Finds Java where Spark's scripts look for it: in JAVA_HOME if that is set, else on PATH.

    Returns:
        The program, or None if there is none, and the words that say what chose it.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        return shutil.which(str(Path(home, "bin", "java"))), f"JAVA_HOME is {home}"
    return shutil.which("java"), "JAVA_HOME is not set, PATH decides"


def parse_java_version(answer: str) -> int | None:
    """Reads the feature release, such as 17, out of what `java -version` prints."""
    match = re.search(r'version "(?:1\.)?(\d+)', answer)  # Java 8 still called itself 1.8
    return int(match.group(1)) if match else None


def set_up(extras: set[str]) -> None:
    """Brings `.venv` up to date with this checkout; touches no network if it already is."""
    stamp = VENV / "set_up.json"
    fingerprint = read_fingerprint(ROOT)
    if is_set_up(stamp, fingerprint, extras):
        return
    # A set-up that is killed from here on is begun again, not believed.
    stamp.unlink(missing_ok=True)
    say("[1/5] Making the virtual environment .venv ...")
    create_venv(VENV)
    say("[2/5] Installing packages (about 5 GB with torch, some minutes) ...")
    install_packages(extras)
    spark_home = next(VENV.glob("lib/python3.*/site-packages/pyspark"))
    say("[3/5] Writing Spark's defaults ...")
    write_spark_conf(spark_home)
    say("[4/5] Fetching Delta's jars for Spark ...")
    if not (spark_home / "jars" / DELTA_MAIN_JAR).exists():
        fetch_delta_jars(spark_home / "jars")
    say("[5/5] Loading Spark's classes once, for quicker starts (about a minute) ...")
    if not is_archive_current(spark_home / "jars"):
        archive_classes(spark_home)
    write_stamp(stamp, fingerprint, extras)
    say("Ready. To use it in this shell: source .venv/bin/activate")
    warn_of_other_spark()


def say(line: str) -> None:
    """Prints a line of progress at once, also into a pipe."""
    print(line, flush=True)


def read_fingerprint(root: Path) -> str:
    """Digests all that decides what a set-up does: the checkout's place and some of its files."""
    digest = hashlib.sha256(str(root).encode())  # a virtual environment does not survive a move
    jobs = root / "jobs"
    templates = sorted((jobs / "conf" / "spark").iterdir())
    scripts = (jobs / "set_up.py", jobs / "load_classes.py")
    for file in (root / "pyproject.toml", *scripts, *templates):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def is_set_up(stamp: Path, fingerprint: str, extras: set[str]) -> bool:
    """Tells whether a finished set-up from the same files left at least these extras."""
    try:
        finished = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return False
    return finished["fingerprint"] == fingerprint and extras <= set(finished["extras"])


def write_stamp(stamp: Path, fingerprint: str, extras: set[str]) -> None:
    """Records that a set-up with these extras is finished."""
    stamp.write_text(json.dumps({"fingerprint": fingerprint, "extras": sorted(extras)}))


def create_venv(venv: Path) -> None:
    """Creates a virtual environment, unless a usable one is there; an unusable one is replaced.

    Unusable: left half-made, moved with its checkout, or its Python is gone after an upgrade.
    """
    pip = venv / "bin" / "pip"
    try:
        answer = subprocess.run([pip, "--version"], capture_output=True, text=True).stdout
    except OSError:
        answer = ""
    if str(venv) in answer:  # a copied environment answers with the original's path
        return
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv])
    if made.returncode != 0:
        raise SetUpError(f"{sys.executable} -m venv failed, see above.")


def install_packages(extras: set[str]) -> None:
    """Installs this project, editable, with its extras."""
    project = f".[{','.join(sorted(extras))}]"
    install(VENV, "--editable", project)


def install(venv: Path, *what: str) -> None:
    """Installs with an environment's pip; `what` are its arguments, paths start from here."""
    check_package_index(venv)
    installed = subprocess.run(pip_command(venv, "install", *what), cwd=ROOT)
    if installed.returncode != 0:
        raise SetUpError(f"pip could not install the packages, see above.\n{GET_PACKAGES}")


def check_package_index(venv: Path) -> None:
    """Raises a `SetUpError` soon if pip reaches no package index: its own retries take minutes."""
    with tempfile.TemporaryDirectory() as folder:
        download = pip_command(venv, "download", "--no-cache-dir", "--no-deps", "--dest", folder)
        impatience = ["--retries", "1", "--timeout", "30"]
        small_package = f"delta-spark=={DELTA_VERSION}"
        reached = subprocess.run([*download, *impatience, small_package], capture_output=True)
    if reached.returncode != 0:
        raise SetUpError(f"pip cannot reach a package index.\n{GET_PACKAGES}")


def pip_command(venv: Path, *arguments: str) -> list[str]:
    """Returns the command line that runs an environment's pip."""
    python = str(venv / "bin" / "python")
    return [python, "-m", "pip", "--disable-pip-version-check", *arguments]


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


def own_environment() -> dict[str, str]:
    """Returns the environment in which spark-submit is this one's."""
    others = ("SPARK_HOME", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in others}
    environment["PATH"] = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)])
    return environment


def resolver_environment(home: Path) -> dict[str, str]:
    """Returns the environment in which spark-submit is this one's and reads no local Maven cache.

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


def write_spark_conf(spark_home: Path) -> None:
    """Writes Spark's defaults, with the absolute paths filled in."""
    conf = spark_home / "conf"
    conf.mkdir(exist_ok=True)
    paths = {"lakehouse": LAKEHOUSE, "jars": spark_home / "jars", "class_archive": CLASS_ARCHIVE}
    for template in SPARK_TEMPLATES.iterdir():
        text = template.read_text()
        for name, path in paths.items():
            text = text.replace(f"{{{name}}}", str(path))
        (conf / template.name).write_text(text)


def is_archive_current(spark_jars: Path) -> bool:
    """Tells whether the archive of classes is younger than all that decides what is in it."""
    java, _ = find_java()
    scripts = (ROOT / "jobs" / "load_classes.py", SPARK_TEMPLATES / "spark-defaults.conf")
    sources = (spark_jars, *scripts, Path(str(java)).resolve())
    # When a file came here, and not when it was built, as packages say.
    try:
        made = CLASS_ARCHIVE.stat().st_ctime
        return all(source.stat().st_ctime < made for source in sources)
    except FileNotFoundError:
        return False


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
    command += [f"spark.driver.defaultJavaOptions={given}", str(ROOT / "jobs" / "load_classes.py")]
    # Java makes no archive where a folder in its class path has files, as Spark's own conf has.
    with tempfile.TemporaryDirectory() as empty, log.open("w") as log_file:
        settings = {"SPARK_CONF_DIR": empty, "SPARK_LOCAL_IP": "127.0.0.1"}
        environment = own_environment() | settings
        ran = subprocess.run(command, env=environment, stdout=log_file, stderr=subprocess.STDOUT)
    if ran.returncode == 0 and partial.exists():
        # Whole or not at all: Java crashes over half of one.
        partial.replace(CLASS_ARCHIVE)
    else:
        say(f"Note: no archive of classes was made, {log} says why. All works, but starts slower.")


def warn_of_other_spark() -> None:
    """Says which variables would make a plain spark-submit ignore this environment's Spark."""
    others = [name for name in ("SPARK_HOME", "SPARK_CONF_DIR") if os.environ.get(name)]
    if others:
        say(f"Note: unset {' and '.join(others)}, or spark-submit follows them instead of .venv.")


if __name__ == "__main__":
    sys.exit(main())
