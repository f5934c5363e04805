"""Makes the environment that Airflow runs in: `python3 -m jobs.set_up.airflow`.

Creates `.venv-airflow` and installs Airflow into it by pip, in the versions of
airflow_dags/constraints.txt. Knows nothing of the jobs, whose environment is `.venv`, nor of how
Airflow is run.
"""

import hashlib
import sys

from jobs.set_up.console import SetUpError, end_with_code, say
from jobs.set_up.environment import (
    ROOT,
    check_package_index,
    create_venv,
    install,
    is_usable,
    make_once,
)
from jobs.set_up.machine import find_python_problem, find_venv_problem

VENV = ROOT / ".venv-airflow"
STAMP = "set_up.sha256"
PACKAGES = ("airflow_dags/requirements.txt", "airflow_dags/constraints.txt")


def set_up() -> None:
    """Brings `.venv-airflow` up to date with this checkout; touches no network if it already is."""
    problem = find_python_problem() or find_venv_problem()
    if problem:
        raise SetUpError(problem)
    make_once(VENV, is_set_up, make_environment)


def is_set_up() -> bool:
    """Returns whether `.venv-airflow` is as these files want it."""
    stamp = VENV / STAMP
    return stamp.exists() and stamp.read_text() == read_fingerprint() and is_usable(VENV)


def make_environment() -> None:
    """Makes `.venv-airflow`, or brings it up to date."""
    say("[1/2] Making the virtual environment .venv-airflow ...")
    create_venv(VENV)
    check_package_index(VENV)
    (VENV / STAMP).unlink(missing_ok=True)
    say("[2/2] Installing Airflow (about 300 MB, a minute) ...")
    requirements, constraints = PACKAGES
    install(VENV, "--quiet", "--requirement", requirements, "--constraint", constraints)
    (VENV / STAMP).write_text(read_fingerprint())


def read_fingerprint() -> str:
    """Digests what decides the set-up: the checkout's place and the packages it asks for."""
    digest = hashlib.sha256(str(ROOT).encode())
    for file in PACKAGES:
        digest.update((ROOT / file).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(end_with_code(set_up, "Set-up of Airflow"))
