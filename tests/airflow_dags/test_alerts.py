"""What is told of a failure; that it is told by a real Airflow is test_scheduling.py's."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")

from airflow.sdk import Variable
from catalog_tasks import alerts


class Task:
    """A task's instance as callbacks are given it, and what it keeps between processes."""

    task_id = "stage"
    try_number = 4
    log_url = "http://airflow/log"

    def __init__(self):
        self.kept: dict[str, Any] = {}

    def xcom_push(self, key, value):
        self.kept[key] = value

    def xcom_pull(self, key):
        return self.kept.get(key)


@pytest.fixture
def told(monkeypatch):
    """What is posted, and to whom."""
    posted: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(alerts, "post", lambda webhook, message: posted.append((webhook, message)))
    monkeypatch.setattr(Variable, "get", lambda *_, **__: "https://chat/hook\n")
    return posted


def context(**more):
    return {"dag": SimpleNamespace(dag_id="refresh_catalog"), "run_id": "r1", **more}


def test_a_run_is_told_of_with_the_error_that_its_task_has_kept(told, caplog):
    task = Task()
    alerts.keep_error(context(ti=task, exception=ValueError("no such key")))
    assert told == []
    alerts.report_failed_run(context(ti=task, reason="task_failure"))
    message = {
        "text": "refresh_catalog.stage failed: no such key",
        "dag_id": "refresh_catalog",
        "run_id": "r1",
        "error": "no such key",
        "task_id": "stage",
        "try_number": 4,
        "log_url": "http://airflow/log",
    }
    assert told == [("https://chat/hook", message)]
    assert [line.partition(" {")[0] for line in caplog.messages] == [
        "catalog_task_failed",
        "catalog_run_failed",
    ]
    assert json.loads(caplog.messages[0].partition(" ")[2]) == message


def test_a_task_that_could_keep_no_error_is_told_of_all_the_same(told):
    task = Task()
    # As Airflow calls it of a task that gives no sign of life, from where nothing can be kept.
    alerts.keep_error(context(ti=task))
    assert task.kept == {}
    alerts.report_failed_run(context(ti=task, reason="task_failure"))
    assert "refresh_catalog.stage failed: its process was killed" in told[0][1]["text"]


def test_an_error_that_cannot_be_read_keeps_nobody_from_being_told(told, monkeypatch):
    def out_of_reach(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(Task, "xcom_pull", out_of_reach)
    alerts.report_failed_run(context(ti=Task(), reason="task_failure"))
    assert "refresh_catalog.stage failed" in told[0][1]["text"]


def test_a_run_of_which_airflow_names_no_task_is_told_of_all_the_same(told):
    alerts.report_failed_run(context(reason="all_tasks_deadlocked"))
    assert told[0][1]["text"] == "refresh_catalog failed: all_tasks_deadlocked"


@pytest.mark.parametrize("status", [200, 404, 503])
def test_a_webhook_is_asked_once_and_a_refusal_is_logged(status, caplog):
    posted = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

    message = {"text": "refresh_catalog failed"}
    with HTTPServer(("127.0.0.1", 0), Chat) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        alerts.post(f"http://127.0.0.1:{server.server_port}", message)
        server.shutdown()
    assert posted == [message]
    is_logged = f"nobody was told: the webhook answers with status {status}" in caplog.text
    assert is_logged == (status != 200)


@pytest.mark.parametrize("webhook", ["http://[bad", "chat/hook", "ftp:/", "http://a b/", "x:y"])
def test_an_address_that_is_none_is_logged_and_raises_nothing(webhook, caplog):
    alerts.post(webhook, {"text": "refresh_catalog failed"})
    assert "nobody was told" in caplog.text
    assert webhook not in caplog.text
