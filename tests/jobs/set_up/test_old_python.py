"""What starts before anything is set up can be read by a Python that is too old for it."""

import ast
from pathlib import Path

import pytest

from jobs.set_up.environment import ROOT


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
