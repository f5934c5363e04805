"""A made-up Java, and an environment as a set-up makes it."""

import venv
from pathlib import Path

import pip
import pytest
from shell_scripts import make_executable


@pytest.fixture
def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that puts a java which prints the given text under JAVA_HOME."""

    def make(answer: str, exit_code: int = 0) -> None:
        java = tmp_path / "jdk" / "bin" / "java"
        make_executable(java, f"echo '{answer}' >&2\nexit {exit_code}")
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    return make


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A virtual environment as a set-up makes it, with the pip of the tests' own."""
    made = tmp_path / "checkout" / ".venv"
    venv.create(made, with_pip=False)
    (made / "bin" / "pip").write_text(f"#!{made}/bin/python3\n")
    (packages,) = made.glob("lib/*/site-packages")
    (packages / "pip").symlink_to(Path(pip.__file__).parent)
    return made
