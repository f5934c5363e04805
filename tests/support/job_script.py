"""The scripts of `jobs/`, run in this process as a command line runs them."""

import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from enrich.cli import run_command

# A command line: flags to exit code, standard output and standard error.
Run = Callable[..., tuple[int, str, str]]

_JOBS = Path(__file__).parents[2] / "jobs"


def load_job(name: str) -> ModuleType:
    """Returns the script `jobs/<name>.py`, by its path, as it is in no package."""
    spec = importlib.util.spec_from_file_location(name, _JOBS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_job(job: ModuleType, *flags: object) -> int:
    """Returns the exit code of a job's command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{job.__name__}.py", *map(str, flags)])
        # A job sets up logging for a process of its own.
        patch.setattr(logging.getLogger(), "handlers", [])
        with pytest.raises(SystemExit) as end:
            run_command(job.main)
    return int(end.value.code or 0)
