"""Makes the environment that Airflow runs in: `python3 -m jobs.set_up_airflow`.

Creates `.venv-airflow` and installs Airflow into it by pip, in the versions of
airflow_dags/constraints.txt. Knows nothing of the jobs, whose environment is `.venv`, nor of how
Airflow is run.

Like jobs/set_up.py, from which it takes what both do, it needs the standard library only.
"""

import hashlib
import sys

from jobs.set_up import (
    ROOT,
    SetUpError,
    create_venv,
    find_python_problem,
    find_venv_problem,
    install,
    say,
)

VENV = ROOT / ".venv-airflow"
PACKAGES = ("airflow_dags/requirements.txt", "airflow_dags/constraints.txt")


def main() -> int:
    """Sets up what is not set up yet.

    Returns:
        The exit code: 0 ready, 1 something is missing and was named, 130 interrupted.
    """
    try:
        if problem := find_python_problem() or find_venv_problem():
            raise SetUpError(problem)
        set_up()
    except SetUpError as error:
        print(f"Set-up of Airflow stopped. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up interrupted. Run the same command to go on.", file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Brings `.venv-airflow` up to date with this checkout; touches no network if it already is."""
    stamp = VENV / "set_up.sha256"
    fingerprint = read_fingerprint()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    stamp.unlink(missing_ok=True)
    say("[1/2] Making the virtual environment .venv-airflow ...")
    create_venv(VENV)
    say("[2/2] Installing Airflow (about 300 MB, a minute) ...")
    requirements, constraints = PACKAGES
    install(VENV, "--quiet", "--requirement", requirements, "--constraint", constraints)
    stamp.write_text(fingerprint)


def read_fingerprint() -> str:
    """Digests what decides the set-up: the checkout's place and the packages it asks for."""
    digest = hashlib.sha256(str(ROOT).encode())
    for file in PACKAGES:
        digest.update((ROOT / file).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
