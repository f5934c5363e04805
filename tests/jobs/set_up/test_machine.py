"""What a set-up says of a machine that lacks what it needs."""

import importlib.util
import sys
from pathlib import Path

import pytest

from jobs.set_up import machine


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


def test_python_without_ensurepip_is_told_which_package_brings_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    major, minor = sys.version_info[:2]
    assert f"apt install python{major}.{minor}-venv" in machine.find_venv_problem()
