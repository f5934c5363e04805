"""What is told of a failure; that it is told by a real Airflow is test_scheduling.py's."""

import json
import logging
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")

from airflow.sdk import Variable
from catalog_tasks import alerts


class Task:
    """A task's instance as callbacks are given it, and what it keeps between processes."""

    task_id = "stage"
    try_number = 4
    log_url = "http://airflow/log"

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.kept[key] = value

    def xcom_pull(self, key: str) -> Any:
        return self.kept.get(key)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is posted, and to whom."""
    posted: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(alerts, "post", lambda webhook, message: posted.append((webhook, message)))
    monkeypatch.setattr(Variable, "get", lambda *_, **__: "https://chat/hook\n")
    return posted


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long would have been waited between tries."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def context(**more: Any) -> dict[str, Any]:
    return {"dag": SimpleNamespace(dag_id="refresh_catalog"), "run_id": "r1", **more}


def test_a_run_is_told_of_with_the_error_that_its_task_has_kept(
    told: list[tuple[str, dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
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


def test_a_task_that_could_keep_no_error_is_told_of_all_the_same(
    told: list[tuple[str, dict[str, Any]]],
) -> None:
    task = Task()
    # As Airflow calls it of a task that gives no sign of life, from where nothing can be kept.
    alerts.keep_error(context(ti=task))
    assert task.kept == {}
    alerts.report_failed_run(context(ti=task, reason="task_failure"))
    assert "refresh_catalog.stage failed: its process was killed" in told[0][1]["text"]


def test_an_error_that_cannot_be_read_keeps_nobody_from_being_told(
    told: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_reach(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(Task, "xcom_pull", out_of_reach)
    alerts.report_failed_run(context(ti=Task(), reason="task_failure"))
    assert "refresh_catalog.stage failed" in told[0][1]["text"]


def test_a_run_of_which_airflow_names_no_task_is_told_of_all_the_same(
    told: list[tuple[str, dict[str, Any]]],
) -> None:
    alerts.report_failed_run(context(reason="all_tasks_deadlocked"))
    assert told[0][1]["text"] == "refresh_catalog failed: all_tasks_deadlocked"


def post_to_chat(answers: list[int]) -> list[int]:
    """Posts to a webhook that answers like this, one after the other; returns what it has left."""
    left = list(answers)

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(left.pop(0))
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Chat) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        alerts.post(f"http://127.0.0.1:{server.server_port}", {"text": "refresh_catalog failed"})
        server.shutdown()
    return left


@pytest.mark.parametrize("answers", [[200], [503, 200], [429, 503, 200], [503, 503, 503, 200]])
def test_a_webhook_that_is_away_for_a_moment_is_asked_again(
    answers: list[int], pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    left = post_to_chat(answers)
    is_told = len(answers) <= 3
    assert left == ([] if is_told else [200])
    assert ("nobody was told" in caplog.text) is not is_told
    assert len(pauses) == min(len(answers), 3) - 1


@pytest.mark.parametrize("status", [400, 404, 413])
def test_a_webhook_that_is_gone_or_takes_no_such_message_is_asked_once_and_its_status_logged(
    status: int, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    assert post_to_chat([status, 200]) == [200]
    assert f"nobody was told: the webhook answers with status {status}" in caplog.text
    assert pauses == []


@pytest.mark.parametrize(("try_s", "tries"), [(10, 3), (20, 2), (30, 1)])
def test_tries_end_in_time_also_where_no_name_server_answers(
    try_s: float, tries: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    past = [0.0]
    began = []

    def without_answer(*_: object, **__: object) -> None:
        began.append(past[0])
        past[0] += try_s  # a timeout does not bound how long a name is looked up
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(alerts, "urlopen", without_answer)
    monkeypatch.setattr(time, "monotonic", lambda: past[0])
    monkeypatch.setattr(time, "sleep", lambda pause_s: past.append(past.pop() + pause_s))
    alerts.post("https://chat/hook", {"text": "refresh_catalog failed"})
    assert len(began) == tries
    assert "nobody was told" in caplog.text
    # Airflow ends a callback after 50 s, its reading of the DAG file included.
    assert past[0] <= 45


@pytest.mark.parametrize("webhook", ["http://[bad", "chat/hook", "ftp:/", "http://a b/", "x:y"])
def test_an_address_that_is_none_is_logged_and_raises_nothing(
    webhook: str, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        alerts.post(webhook, {"text": "refresh_catalog failed"})
    assert "nobody was told" in caplog.text
    assert webhook not in caplog.text
    # A scheme that nothing speaks looks like a network that is down.
    assert len(pauses) == (2 if webhook in ("ftp:/", "x:y") else 0)
