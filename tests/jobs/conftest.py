"""Runs the job that a test module is named after, in this process."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from enrich.command_line import run_command

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture(scope="module")
def job(request: pytest.FixtureRequest) -> ModuleType:
    """The script `jobs/<name>.py` of `test_<name>.py`, by its path, as it is in no package."""
    name = request.path.stem.removeprefix("test_")
    spec = importlib.util.spec_from_file_location(name, JOBS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(
    job: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Returns a function that runs the command line: exit code, standard output and error."""

    def run(*flags: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"{job.__name__}.py", *map(str, flags)])
        with pytest.raises(SystemExit) as end:
            run_command(job.main)
        return int(end.value.code or 0), *capsys.readouterr()

    return run
