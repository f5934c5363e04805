"""Runs the job that a test module is named after, in this process."""

from types import ModuleType

import pytest
from job_script import Run, load_job, run_job


@pytest.fixture(scope="module")
def job(request: pytest.FixtureRequest) -> ModuleType:
    """The script `jobs/<name>.py` of `test_<name>.py`."""
    return load_job(request.path.stem.removeprefix("test_"))


@pytest.fixture
def run(job: ModuleType, capsys: pytest.CaptureFixture[str]) -> Run:
    """Returns a function that runs the command line: exit code, standard output and error."""

    def run(*flags: object) -> tuple[int, str, str]:
        return run_job(job, *flags), *capsys.readouterr()

    return run
