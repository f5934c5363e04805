"""Packages go into the environment, and one that is unusable is replaced."""

import subprocess
import sys
from pathlib import Path

import pip
import pytest

from jobs.set_up import environment
from jobs.set_up.console import SetUpError
from jobs.set_up.environment import pip_command


def test_packages_go_into_the_environment_whatever_the_user_s_pip_is_told(
    tmp_path: Path, monkeypatch
):
    for name, value in {"PIP_USER": "1", "PIP_TARGET": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    # A package in a folder of the user's is none in the environment.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "elsewhere-1.dist-info").mkdir()
    (tmp_path / "elsewhere-1.dist-info" / "METADATA").write_text("Name: elsewhere\nVersion: 1\n")
    command = pip_command(Path(sys.prefix), "install", "--no-index", "elsewhere")
    said = subprocess.run(command, capture_output=True, text=True).stderr
    assert "No matching distribution found" in said and "--user" not in said


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
    # Another pip does not make it whole.
    monkeypatch.setenv("PYTHONPATH", str(Path(pip.__file__).parents[1]))
    with pytest.raises(SetUpError, match="false -m venv failed"):
        environment.create_venv(made)
