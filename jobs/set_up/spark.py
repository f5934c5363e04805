"""Spark in `.venv`: its defaults, Delta's jars beside its own, and its classes in an archive.

So a plain `spark-submit` or `spark-sql` needs neither flags nor network, and starts quickly.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from jobs.set_up.console import SetUpError, say
from jobs.set_up.environment import ROOT, VENV
from jobs.set_up.java import OWN_JAVA, find_chosen_java, offer_own_java

TEMPLATES = ROOT / "jobs" / "conf" / "spark"
LAKEHOUSE = ROOT / "lakehouse"
CLASS_LOADER = Path(__file__).with_name("load_classes.py")
CLASS_ARCHIVE = VENV / "spark-classes.jsa"
ARCHIVED_BY = VENV / "spark-classes.txt"  # the Javas that were told to make one

DELTA_VERSION = "4.4.0"  # pyproject.toml pins the same; a test compares the two
DELTA_PACKAGE = f"io.delta:delta-spark_4.1_2.13:{DELTA_VERSION}"
DELTA_GROUPS = ("io.delta", "io.unitycatalog")
DELTA_MAIN_JAR = f"delta-spark_4.1_2.13-{DELTA_VERSION}.jar"

GET_JARS = (
    "The first set-up needs the network. Behind a proxy, Java wants SPARK_SUBMIT_OPTS="
    "'-Dhttps.proxyHost=... -Dhttps.proxyPort=...'; behind a mirror, Spark wants "
    "DEFAULT_ARTIFACT_REPOSITORY, or spark.jars.ivySettings in $SPARK_CONF_DIR/spark-defaults.conf."
)


def write_spark_conf(spark_home: Path) -> None:
    """Writes Spark's defaults, with the absolute paths filled in, where Spark finds them."""
    conf = spark_home / "conf"
    conf.mkdir(exist_ok=True)
    paths = {
        "lakehouse": LAKEHOUSE,
        "jars": spark_home / "jars",
        "class_archive": CLASS_ARCHIVE,
        "own_java": OWN_JAVA,
    }
    for template in TEMPLATES.iterdir():
        text = template.read_text()
        for name, path in paths.items():
            text = text.replace(f"{{{name}}}", str(path))
        (conf / template.name).write_text(text)
    # Spark's own script finds no spark-env.sh in a folder with a space in its name.
    script = spark_home / "bin" / "load-spark-env.sh"
    script.write_text(script.read_text().replace(". ${SPARK_ENV_SH}\n", '. "${SPARK_ENV_SH}"\n'))


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
    if OWN_JAVA.exists():
        environment["JAVA_HOME"] = str(OWN_JAVA)
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


def choose_java(own: bool) -> None:
    """Lets Spark's scripts find the Java of `.venv`, or again that of the machine."""
    if own:
        offer_own_java()
    elif OWN_JAVA.exists():
        shutil.rmtree(OWN_JAVA)
        CLASS_ARCHIVE.unlink(missing_ok=True)  # of that Java's classes


def is_archive_current(spark_jars: Path) -> bool:
    """Tells whether the archive of classes is younger than all that decides what is in it."""
    java = find_chosen_java()
    if java is None:
        return False
    sources = (spark_jars, CLASS_LOADER, TEMPLATES / "spark-defaults.conf", java)
    # When a file came here, and not when it was built, as packages say.
    try:
        made = CLASS_ARCHIVE.stat().st_ctime
        return all(source.stat().st_ctime < made for source in sources)
    except FileNotFoundError:
        return False


def is_java_archived() -> bool:
    """Tells whether the Java that Spark starts here was told to make an archive, made or not.

    Java takes no archive of another one, and none from before its update, and says nothing.
    """
    return ARCHIVED_BY.exists() and identify_java() in ARCHIVED_BY.read_text().splitlines()


def remember_java() -> None:
    """Records the Java that Spark starts here: each is told once, so that two take no turns."""
    with ARCHIVED_BY.open("a") as javas:
        javas.write(f"{identify_java()}\n")


def identify_java() -> str | None:
    """Names the Java that Spark starts here, and when it came here; None where there is none."""
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
