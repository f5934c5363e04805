"""A virtual environment, and what pip installs into it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.set_up.console import SetUpError, say

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
SMALL_PACKAGE = "delta-spark"  # small, and in every index

GET_PACKAGES = (
    "The first set-up needs the network. Behind a mirror or proxy, configure pip as usual "
    "(PIP_INDEX_URL, HTTPS_PROXY); what is already there is kept: run the same command again."
)


@contextmanager
def waiting_turn_in(venv: Path) -> Iterator[None]:
    """Lets one set-up at a time change an environment; the others wait, and say so."""
    with venv.with_name(f"{venv.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another set-up, which is at work in {venv.name} ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_once(venv: Path, is_ready: Callable[[], bool], make: Callable[[], None]) -> None:
    """Makes an environment that is not ready; of several set-ups at a time only one does."""
    if is_ready():
        return
    with waiting_turn_in(venv):
        # Another set-up may have made it while this one waited.
        if not is_ready():
            make()


def create_venv(venv: Path) -> None:
    """Creates a virtual environment, unless a usable one is there; an unusable one is replaced.

    Unusable: left half-made, moved with its checkout, or its Python is gone after an upgrade.
    """
    if is_usable(venv):
        return
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv])
    if made.returncode != 0:
        raise SetUpError(f"{sys.executable} -m venv failed, see above.")


def is_usable(venv: Path) -> bool:
    """Returns whether an environment's pip runs here, however the user has configured pip."""
    try:
        # A copied environment names the original's Python.
        is_own = str(venv / "bin") in (venv / "bin" / "pip").read_text()
        # -E: no other pip, to which PYTHONPATH leads.
        asked = [str(venv / "bin" / "python"), "-E", "-c", "import pip"]
        return is_own and subprocess.run(asked, capture_output=True).returncode == 0
    except OSError:
        return False


def install(venv: Path, *what: str) -> None:
    """Installs with an environment's pip; `what` are its arguments, paths start from here."""
    installed = subprocess.run(pip_command(venv, "install", *what), cwd=ROOT)
    if installed.returncode != 0:
        raise SetUpError(f"pip could not install the packages, see above.\n{GET_PACKAGES}")


def check_package_index(venv: Path) -> None:
    """Raises a `SetUpError` soon if pip reaches no package index: its own retries take minutes."""
    with tempfile.TemporaryDirectory() as folder:
        download = pip_command(venv, "download", "--no-cache-dir", "--no-deps", "--dest", folder)
        impatience = ["--quiet", "--retries", "1", "--timeout", "30"]
        reached = subprocess.run([*download, *impatience, SMALL_PACKAGE])
    if reached.returncode != 0:
        raise SetUpError(f"pip can download nothing, see above.\n{GET_PACKAGES}")


def pip_command(venv: Path, *arguments: str) -> list[str]:
    """Returns the command line that runs an environment's pip.

    Variables that send the user's packages elsewhere are left out: these belong in here. So is the
    one that leads to packages elsewhere: pip would take them for installed.
    """
    into_venv = ["env", "-u", "PYTHONPATH", "-u", "PIP_TARGET", "-u", "PIP_PREFIX", "PIP_USER=0"]
    python = str(venv / "bin" / "python")
    return [*into_venv, python, "-m", "pip", "--disable-pip-version-check", *arguments]
