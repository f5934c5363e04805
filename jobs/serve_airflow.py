"""Runs a local Airflow with this checkout's DAGs until Ctrl-C: `python3 -m jobs.serve_airflow`.

One machine, SQLite, this machine's own address only. Keeps everything in one folder (AIRFLOW_HOME).
Starts Airflow's components one by one instead of by `airflow standalone`, whose log servers would
listen on all addresses. Knows nothing of what the DAGs do but the pool that they queue in.

Runs with the system's Python, an old one too: the standard library only.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
DAGS = ROOT / "airflow_dags"
BIN = ROOT / ".venv-airflow" / "bin"

POOL = ("gpu_cluster", "1", "Spark applications at a time")
COMPONENTS = {
    "api-server": [],
    # Logs are read from the disk: a server for them would listen on all addresses.
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 30

# Variables that override airflow.cfg: they might name another Airflow's database, which would then
# be migrated. And the one that leads to another's packages.
_OF_ANOTHER_AIRFLOW = ("AIRFLOW__", "_AIRFLOW", "AIRFLOW_CONFIG", "PYTHONPATH")


class ServeError(Exception):
    """Airflow could not be started; the message says where to look."""


def main() -> int:
    """Serves until interrupted.

    Returns:
        The exit code: 0 interrupted, 1 it could not be started or has ended by itself.
    """
    parser = argparse.ArgumentParser(description="Run a local Airflow with this checkout's DAGs.")
    parser.add_argument("--home", type=Path, default=ROOT / "airflow_home", help="AIRFLOW_HOME")
    parser.add_argument("--port", type=int, default=8080, help="port on 127.0.0.1")
    given = parser.parse_args()
    # Ended like Ctrl-C also by a plain kill and a terminal's end, so that no component is left
    # behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        serve(given.home.resolve(), given.port)
    except (ServeError, OSError) as error:
        print(f"Airflow stopped. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Airflow stopped.")
    return 0


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupts once: where a terminal ends, the system and the shell both send a signal."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def serve(home: Path, port: int) -> None:
    """Prepares AIRFLOW_HOME, starts all components, and watches them."""
    refuse_used_port(port)
    keep_from_proxies()
    with only_one_in(home) as lock, ExitStack() as running:
        password = prepare_home(home, port)
        components = {
            name: running.enter_context(component(home, name, lock)) for name in COMPONENTS
        }
        wait_until_healthy(home, port, components)
        print(f"Airflow is at http://127.0.0.1:{port}  user: admin  password: {password}")
        print(f"Its logs are in {home}. Ctrl-C stops it.", flush=True)
        while True:
            check_running(home, components)
            time.sleep(1)


def refuse_used_port(port: int) -> None:
    """Raises a `ServeError` if the port is in use: what answers there would be taken for ours."""
    if not 0 < port < 1 << 16:
        raise ServeError(f"{port} is no port; wanted: 1 to 65535.")
    with socket.socket() as probe:
        # As Airflow does: a port that only connections of an ended Airflow still hold is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServeError(
                f"Port {port} cannot be used: {error.strerror}. End an Airflow that an earlier "
                "start has left behind; beside another program, give another --port."
            ) from error


@contextmanager
def only_one_in(home: Path) -> Iterator[int]:
    """Lets one Airflow at a time work in the folder: two schedulers are no good to one database.

    Yields the lock's descriptor. Components that inherit it hold the lock too, also those that a
    killed start has left behind.

    Raises:
        ServeError: another one is at work there.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "serving.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServeError(
                f"An Airflow is at work in {home}: another start's, or one that a killed start has "
                "left behind. End it first; beside it, another one needs its own --home and --port."
            ) from error
        yield lock.fileno()


def keep_from_proxies() -> None:
    """Lets this process and its children ask no proxy for what is on this machine."""
    past_proxies = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if past_proxies != "*":
        past_proxies = f"{past_proxies},127.0.0.1,localhost".lstrip(",")
    os.environ.update(no_proxy=past_proxies, NO_PROXY=past_proxies)


def prepare_home(home: Path, port: int) -> str:
    """Writes the configuration and brings the database up to date; returns admin's password."""
    write_configuration(home, port)
    password = keep_password(home / "passwords.json")
    print("Preparing Airflow's database ...", flush=True)
    run_airflow(home, "db", "migrate")
    try:
        run_airflow(home, "pools", "get", POOL[0])  # its slots are the user's to change
    except ServeError:
        run_airflow(home, "pools", "set", *POOL)
    return password


def write_configuration(home: Path, port: int) -> None:
    """Fills in airflow_dags/airflow.cfg; keys of an earlier start are kept.

    Raises:
        OSError, ServeError: an earlier start's file cannot be read, and so is not replaced.
    """
    file = home / "airflow.cfg"
    known = configparser.RawConfigParser()
    try:
        with suppress(FileNotFoundError), file.open() as earlier:
            known.read_file(earlier)
    except (configparser.Error, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0].rstrip(".")
        raise ServeError(
            f"{file} is damaged: {problem}. Put it right, or remove it: the next start then makes "
            "new keys, and Airflow's Variables have to be set again."
        ) from error
    fresh_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    text = (DAGS / "airflow.cfg").read_text()
    filled = text.format(
        home=home,
        dags=DAGS,
        port=port,
        fernet_key=known.get("core", "fernet_key", fallback=fresh_key),
        secret_key=known.get("api", "secret_key", fallback=secrets.token_urlsafe(32)),
        jwt_secret=known.get("api_auth", "jwt_secret", fallback=secrets.token_urlsafe(64)),
    )
    # A percent sign would be taken for a reference to another setting.
    write_private(file, filled.replace("%", "%%"))


def keep_password(file: Path) -> str:
    """Returns admin's password, making one up at the first start.

    Raises:
        ServeError: an earlier start's file holds none.
    """
    if not file.exists():
        write_private(file, json.dumps({"admin": secrets.token_urlsafe(9)}))
    try:
        return json.loads(file.read_text())["admin"]
    except (ValueError, KeyError, TypeError) as error:
        raise ServeError(
            f"{file} is damaged: remove it, and the next start makes a new password."
        ) from error


def write_private(file: Path, text: str) -> None:
    """Writes a file that only this user can read, whole or not at all.

    Such a file may hold the key of what Airflow has encrypted, as it does all of its Variables:
    with the key they would be lost.

    Raises:
        ServeError: it cannot be written; what was there is still there.
    """
    partial = file.with_suffix(".part")
    try:
        partial.touch(mode=0o600)
        partial.write_text(text)
        partial.replace(file)
    except OSError as error:
        raise ServeError(f"{file} cannot be written: {error}") from error


def airflow_environment(home: Path) -> dict[str, str]:
    """Returns the environment in which `airflow` is this checkout's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OF_ANOTHER_AIRFLOW)
    }
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "AIRFLOW_HOME": str(home), "PATH": path}


def run_airflow(home: Path, *arguments: str) -> None:
    """Runs one of Airflow's commands to its end."""
    log = home / "prepare.log"
    with log.open("a") as log_file:
        command = [str(BIN / "airflow"), *arguments]
        env = airflow_environment(home)
        ended = subprocess.run(command, env=env, stdout=log_file, stderr=log_file)
    if ended.returncode != 0:
        raise ServeError(f"airflow {' '.join(arguments)} failed, {log} says why.")


@contextmanager
def component(home: Path, name: str, lock: int) -> Iterator[subprocess.Popen]:
    """Runs a component, with its log in a file; ends it and what it has started on leaving."""
    with log_of(home, name).open("w") as log_file:
        process = subprocess.Popen(
            [str(BIN / "airflow"), name, *COMPONENTS[name]],
            env=airflow_environment(home),
            stdout=log_file,
            stderr=log_file,
            # Ctrl-C comes here alone, which then ends them in order.
            start_new_session=True,
            pass_fds=[lock],
        )
    try:
        yield process
    finally:
        # To all of its processes, not to the scheduler alone: it would wait for the tasks that it
        # has started, and these end their Spark applications only when they get the signal.
        signal_group(process, signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            signal_group(process, signal.SIGKILL)


def signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    """Sends a signal to a component and the processes that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def log_of(home: Path, name: str) -> Path:
    """Returns the file that a component's output goes to."""
    return home / f"{name}.log"


def wait_until_healthy(home: Path, port: int, components: dict[str, subprocess.Popen]) -> None:
    """Returns when Airflow's own health page says that scheduler and DAG processor are up."""
    print("Starting Airflow ...", flush=True)
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        check_running(home, components)
        if is_healthy(port):
            return
        time.sleep(1)
    raise ServeError(f"It is not up after {START_TIMEOUT_S} s, see the logs in {home}.")


def is_healthy(port: int) -> bool:
    """Returns whether Airflow's health page calls scheduler and DAG processor healthy."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=10) as answer:
            health = json.load(answer)
        return all(health[name]["status"] == "healthy" for name in ("scheduler", "dag_processor"))
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return False  # not up yet, or something else listens there


def check_running(home: Path, components: dict[str, subprocess.Popen]) -> None:
    """Raises a `ServeError` if a component has ended by itself."""
    for name, process in components.items():
        if process.poll() is not None:
            raise ServeError(f"Its {name} has ended, {log_of(home, name)} says why.")


if __name__ == "__main__":
    sys.exit(main())
