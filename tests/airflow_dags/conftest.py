"""A local Airflow as `make airflow` starts it, in a folder of its own, and jobs to give it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "airflow_dags"

# What the DAG files find when Airflow parses them: its folder of DAGs is on its path.
sys.path.append(str(DAGS))

# Airflow makes its folder when it is imported, in the user's home unless told otherwise.
_imported_home = tempfile.TemporaryDirectory(prefix="airflow-home-")
os.environ["AIRFLOW_HOME"] = _imported_home.name

# Retries wait for minutes in earnest; Airflow calls this for every task that it parses.
IMPATIENT_POLICY = """
from datetime import timedelta

def task_policy(task):
    task.retry_delay = timedelta(seconds=1)
    if hasattr(task, "poke_interval"):
        task.poke_interval = 5
"""


class Airflow:
    """A running Airflow, used as people and their programs use it: by its REST API."""

    def __init__(self, port, password):
        import httpx

        self.port, url = port, f"http://127.0.0.1:{port}"
        login = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": password})
        token = login.raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=60)

    def call(self, method, path, body=None, **query):
        answer = self._http.request(method, path, json=body, params=query)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def set_variables(self, **variables):
        """Makes these the only Variables."""
        for known in self.call("GET", "/variables")["variables"]:
            self.call("DELETE", f"/variables/{known['key']}")
        for key, value in variables.items():
            self.call("POST", "/variables", {"key": key, "value": str(value)})

    def switch_on(self, dag_id, *, on=True):
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": not on})

    def trigger(self, dag_id, **conf):
        body = {"conf": conf, "logical_date": None}
        return self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]

    def backfill(self, dag_id, first_day, last_day):
        """Starts a backfill as the form in Airflow's pages does; returns its id."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first_day}T00:00:00Z",
            "to_date": f"{last_day}T23:59:59Z",
            "max_active_runs": 1,
            "reprocess_behavior": "none",
            "run_backwards": False,
            "dag_run_conf": {},
        }

        def created():
            # On SQLite the database may be locked just then: 503, or 500 where it is to be logged.
            answer = self._http.post("/backfills", json=body)
            locked = answer.status_code == 503 or "Database error" in answer.text
            assert answer.is_success or locked, answer.text
            return answer.json().get("id")

        return wait_for(created, f"a backfill of {dag_id}")

    def runs(self, dag_id, **query):
        return self.call("GET", f"/dags/{dag_id}/dagRuns", **query)["dag_runs"]

    def tasks(self, dag_id, run_id):
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return {task["task_id"]: task for task in self.call("GET", path)["task_instances"]}

    def task_state(self, dag_id, run_id, task_id):
        return self.tasks(dag_id, run_id)[task_id]["state"]

    def log(self, dag_id, run_id, task_id, attempt=1):
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        lines = []
        for line in self.call("GET", path, full_content=True)["content"]:
            raised = [error["exc_value"] for error in line.get("error_detail") or ()]
            lines += [line["event"], *raised]
        return "\n".join(lines)

    def events(self, asset):
        """Returns an asset's events, oldest first."""
        found = self.call(
            "GET", "/assets/events", name_pattern=asset, order_by="timestamp", limit=100
        )
        return [event for event in found["asset_events"] if event["name"] == asset]

    def finish(self, dag_id, run_id, timeout_s=120):
        """Waits for the end of a run and returns its state."""

        def ended():
            state = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            return state if state in ("success", "failed") else None

        return wait_for(ended, f"the end of {dag_id} {run_id}", timeout_s)

    def run(self, dag_id, timeout_s=120, **conf):
        """Triggers a run and waits for it; returns its id and its state."""
        run_id = self.trigger(dag_id, **conf)
        return run_id, self.finish(dag_id, run_id, timeout_s)


def wait_for(condition, what, timeout_s=120):
    """Returns what the condition returns as soon as that is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.5)
    return pytest.fail(f"waited {timeout_s} s in vain for: {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    """Returns True if something answers at this port of this machine."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serve(home):
    """Runs what `make airflow` runs: its process, and a login once the DAG files are read."""
    (home / "config").mkdir()
    (home / "config" / "airflow_local_settings.py").write_text(IMPATIENT_POLICY)
    said, port = home / "said.txt", str(free_port())
    # Variables that lead another program astray; users have them.
    astray = {
        "SPARK_HOME": "/nowhere",
        "PYSPARK_PYTHON": "/nowhere/python",
        "PYTHONPATH": "/nowhere",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////nowhere/production.db",
        "AIRFLOW_CONFIG": "/nowhere/airflow.cfg",
    }
    ports = {
        "PORT": port,
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }
    env = {**os.environ, **astray, **ports, "LOCAL_AIRFLOW": str(home)}
    command = [DAGS / "local.sh"]
    with said.open("w") as out:
        # In a group of its own, for a Ctrl-C that all of it gets. A shell's job in the background
        # would have passed on that it hears none.
        process = subprocess.Popen(
            command,
            env=env,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        ready = "Airflow is ready"
        wait_for(lambda: ready in said.read_text() or process.poll() is not None, "Airflow", 300)
        assert process.poll() is None, said.read_text()
        # Its API server may listen a little later than it says so.
        wait_for(lambda: listens(int(port)), "Airflow's API server", 300)
        passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
        client = Airflow(int(port), passwords["admin"])
        wait_for(lambda: len(client.call("GET", "/dags")["dags"]) == 4, "four DAGs")
        yield process, client
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(120)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A running Airflow that the tests share."""
    with serve(tmp_path_factory.mktemp("airflow_home")) as running:
        yield running


@pytest.fixture(scope="session")
def airflow(served):
    """The shared Airflow's API."""
    return served[1]


@pytest.fixture
def another_airflow(tmp_path):
    """An Airflow for a test that stops it."""
    (tmp_path / "airflow_home").mkdir()
    with serve(tmp_path / "airflow_home") as running:
        yield running


@pytest.fixture
def fake_checkout(tmp_path):
    """Returns a function that makes a checkout whose spark-submit is a shell script."""

    def make(script):
        spark_submit = tmp_path / "checkout" / ".venv" / "bin" / "spark-submit"
        spark_submit.parent.mkdir(parents=True, exist_ok=True)
        spark_submit.write_text(f"#!/bin/bash\n{script}\n")
        spark_submit.chmod(0o755)
        return tmp_path / "checkout"

    return make


@pytest.fixture(scope="session")
def waited():
    """Returns `wait_for`: patient for as long as Airflow may take to notice something."""
    return wait_for
