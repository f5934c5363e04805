"""When Airflow's environment is believed to be set up."""

from pathlib import Path

import pytest
from shell_scripts import make_executable

from jobs.set_up import airflow


def test_airflow_s_environment_whose_python_is_another_now_counts_as_none(
    made: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(airflow, "VENV", made)
    assert not airflow.is_set_up()
    (made / airflow.STAMP).write_text(airflow.read_fingerprint())
    assert airflow.is_set_up()
    (made / "bin" / "python").unlink()
    make_executable(made / "bin" / "python", "exit 1")
    assert not airflow.is_set_up()
