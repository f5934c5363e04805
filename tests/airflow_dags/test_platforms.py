"""A job that a platform runs: how it is started, watched, cancelled, and what its summary means."""

import json
import re
import shlex
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from catalog_tasks import platforms
from catalog_tasks.spark_job import SparkJob

SUMMARY = {"run_id": "r1", "outcome": "staged", "counts": {"read": 3}}


class Backend:
    """A platform that is not there: it notes what it is asked, and its job ends as a test says."""

    def __init__(self):
        self.asked: list[tuple[str, str, Any]] = []
        self.words: list[str] = []
        self.job = ""
        self.said: dict[str, Any] | None = {**SUMMARY, "exit_code": 0}
        self.status = 200
        self.looks = 0
        # How often it fails to tell the state of a job that has begun.
        self.is_busy = 0
        self.state = "RUNNING"

    def answer(self, method, path, body, token):
        assert token == "Bearer hush"
        self.asked.append((method, path, body))
        if path.endswith("/sparkapplications"):
            self.start(body["spec"]["arguments"], body["spec"]["mainApplicationFile"])
            return {"metadata": body["metadata"]}
        if path.endswith("/run-now"):
            self.start(body["python_params"][1:], body["python_params"][0])
            return {"run_id": 77}
        if self.is_busy:
            self.is_busy -= 1
            return None
        is_over = self.look()
        return {
            "status": {"applicationState": {"state": "COMPLETED" if is_over else self.state}},
            "state": {"life_cycle_state": "TERMINATED" if is_over else self.state},
        }

    def look(self):
        """Return whether the job is over; any job is at last, so that no test waits for ever."""
        self.looks += 1
        return self.looks > (2 if self.state == "RUNNING" else 20)

    def start(self, words, job):
        self.words, self.job = words, job
        (address,) = (word.partition("=")[2] for word in words if word.startswith("--summary="))
        if self.said is not None:
            Path(address).write_text(json.dumps(self.said))


@pytest.fixture
def backend():
    return Backend()


@pytest.fixture
def address(backend):
    class Answer(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            token = self.headers["Authorization"]
            answer = backend.answer(self.command, self.path, body, token)
            said = b"<html>busy" if answer is None else json.dumps(answer).encode()
            self.send_response(backend.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = answer  # noqa: N815
        do_POST = answer  # noqa: N815
        do_DELETE = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(params=["kubernetes", "databricks", "emr"])
def platform(request, backend, address, tmp_path, monkeypatch):
    """The Variable of each kind of platform."""
    monkeypatch.setattr(Variable, "get", lambda name, default=None: "hush")
    application = tmp_path / "application.json"
    application.write_text(json.dumps({"metadata": {"generateName": "x-"}, "spec": {"type": "P"}}))
    monkeypatch.setitem(sys.modules, "airflow.providers.amazon.aws.hooks.emr", emr_of(backend))
    given = {
        "kubernetes": {"api": address, "application": str(application)},
        "databricks": {"host": address, "job": 12},
        "emr": {"cluster": "j-1", "command": "bash submit.sh"},
    }
    return json.dumps({"kind": request.param, **given[request.param]})


def emr_of(backend):
    """Return what stands for the Amazon provider's module."""

    def add_job_flow_steps(JobFlowId, Steps):  # noqa: N803
        assert JobFlowId == "j-1"
        run = Steps[0]["HadoopJarStep"]["Args"][2]
        found = re.fullmatch(r"export JOB=(\S+); bash submit\.sh (.*)", run)
        assert found
        backend.start(shlex.split(found[2]), found[1])
        return {"StepIds": ["s-1"]}

    def describe_step(**_):
        if backend.is_busy:
            backend.is_busy -= 1
            raise RuntimeError("ThrottlingException")
        return {"Step": {"Status": {"State": "COMPLETED" if backend.look() else backend.state}}}

    def cancel_steps(**given):
        backend.asked.append(("cancel", "", given))

    functions = (add_job_flow_steps, describe_step, cancel_steps)
    client = SimpleNamespace(**{one.__name__: one for one in functions})
    module = ModuleType("emr")
    module.EmrHook = lambda aws_conn_id: SimpleNamespace(get_conn=lambda: client)  # type: ignore[attr-defined]
    return module


def job_of(platform, folder, **given):
    flags = {"--run-id": "manual__2026-12-01", "--reason": "it's right", "--no-publish": True}
    settings = {"flags": flags, "job": "enrich_catalog.py", **given}
    return SparkJob(
        task_id="stage", platform=platform, summaries=str(folder), poll_s=0.01, **settings
    )


def run(job, try_number=1):
    ti = SimpleNamespace(
        dag_id="refresh_catalog",
        run_id="scheduled__2026-12-01T03:00:00+00:00",
        task_id="stage",
        try_number=try_number,
    )
    return job.execute({"ti": ti})


def test_a_job_elsewhere_has_the_words_and_the_result_of_one_here(platform, backend, tmp_path):
    assert run(job_of(platform, tmp_path)) == SUMMARY
    summary = backend.words.pop()
    assert backend.words == [
        "--run-id=manual__2026-12-01", "--reason=it's right", "--no-publish"
    ]  # fmt: skip
    assert re.fullmatch(rf"--summary={tmp_path}/refresh-catalog-[a-z0-9-]+-stage-1\.json", summary)
    assert "enrich" in backend.job
    assert backend.looks == 3


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ({"exit_code": 2, "error": "no such table"}, AirflowFailException, "no such table"),
        ({**SUMMARY, "exit_code": 3, "error": "too blue"}, AirflowFailException, "too blue"),
        ({"exit_code": 1, "error": "no answer"}, AirflowException, "may pass: no answer"),
        ({"outcome": "running", "exit_code": None}, AirflowException, "tells nothing"),
        (None, AirflowException, "tells nothing"),
    ],
    ids=["wrong", "blocked", "failed", "killed", "never begun"],
)
def test_how_a_job_ended_is_what_its_summary_says(platform, backend, tmp_path, said, kind, told):
    backend.said = said
    with pytest.raises(AirflowException, match=told) as failed:
        run(job_of(platform, tmp_path))
    assert type(failed.value) is kind


def test_an_exit_code_that_is_accepted_is_a_result(platform, backend, tmp_path):
    backend.said = {**SUMMARY, "exit_code": 3}
    assert run(job_of(platform, tmp_path, accepted=(0, 3))) == SUMMARY


def test_a_platform_that_is_too_busy_to_tell_the_state_is_asked_again(platform, backend, tmp_path):
    backend.is_busy = 2
    assert run(job_of(platform, tmp_path)) == SUMMARY


# SUBMITTED is Kubernetes' driver without a node; QUEUED and BLOCKED are Databricks' own.
@pytest.mark.parametrize("state", ["NEW", "PENDING", "SUBMITTED", "QUEUED", "BLOCKED"])
def test_a_job_that_never_begins_is_cancelled(platform, backend, tmp_path, state):
    backend.state = state
    given = json.dumps({**json.loads(platform), "start_s": 0})
    with pytest.raises(AirflowException, match="has not begun"):
        run(job_of(given, tmp_path))
    assert re.search("DELETE|cancel", str(backend.asked[-1]))


def test_a_job_that_fails_in_a_way_unknown_here_is_cancelled(
    platform, backend, tmp_path, monkeypatch
):
    def fail(*_):
        raise RuntimeError("unknown")

    monkeypatch.setattr("catalog_tasks.spark_job.wait_for_end", fail)
    with pytest.raises(RuntimeError):
        run(job_of(platform, tmp_path))
    assert re.search("DELETE|cancel", str(backend.asked[-1]))


def test_a_summary_that_cannot_be_read_is_no_reason_to_repeat_the_job(monkeypatch):
    answers = [OSError("busy"), RuntimeError("denied"), json.dumps({"exit_code": 0})]

    def read(_):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(platforms, "_read_text", read)
    waited: list[float] = []
    assert platforms.read_outcome("s3://x/a.json", waited.append) == {"exit_code": 0}
    assert len(waited) == 2
    answers[:] = [RuntimeError("denied")]
    with pytest.raises(AirflowFailException, match=r"s3://x/a\.json cannot be read: denied"):
        platforms.read_outcome("s3://x/a.json", waited.append)


def test_a_try_does_not_read_what_an_earlier_one_wrote(platform, backend, tmp_path):
    assert run(job_of(platform, tmp_path)) == SUMMARY
    backend.said, backend.looks = None, 0
    with pytest.raises(AirflowException, match="tells nothing"):
        run(job_of(platform, tmp_path), try_number=2)


def test_a_task_that_airflow_ends_cancels_its_job(platform, backend, tmp_path):
    job = job_of(platform, tmp_path)
    run(job)
    backend.asked.clear()
    job.on_kill()
    ((method, path, body),) = backend.asked
    said = f"{method} {path} {body}"
    assert re.search(r"DELETE .*/stage|DELETE .*-stage-1|runs/cancel .*77|cancel .*s-1", said)


def test_maintenance_is_another_job_of_the_same_platform(platform, backend, tmp_path):
    run(job_of(platform, tmp_path, job="maintain_tables.py", flags={"--database": "shop"}))
    assert "maintain" in backend.job and backend.words[0] == "--database=shop"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_a_platform_refuses_is_not_tried_again(backend, address, status):
    backend.status = status
    with pytest.raises(AirflowFailException, match=f"refused with {status}"):
        platforms.Databricks(address, 12, "hush").start(
            "enrich_catalog.py", ["--summary=/dev/null"], "x"
        )


def test_a_platform_that_does_not_answer_for_a_while_is_waited_for(backend, address, monkeypatch):
    databricks = platforms.Databricks(address, 12, "hush")
    backend.status = 503

    def heal(_):
        backend.status = 200

    assert platforms.wait_for_end(databricks, "77", 1, heal).is_over
    backend.status = 503
    monkeypatch.setattr(platforms, "SILENCE_S", -1)
    with pytest.raises(AirflowException, match="has not answered"):
        platforms.wait_for_end(databricks, "77", 1, heal)


@pytest.mark.parametrize(
    "chosen", ["{", "[]", '{"kind": "cray"}', '{"kind": "emr"}', '{"kind": "emr", "x": 1}']
)
def test_a_platform_that_is_not_described_is_refused(chosen):
    with pytest.raises(AirflowFailException, match="catalog_platform is not usable"):
        platforms.open_platform(chosen, "")


def test_an_application_that_is_not_json_fails_at_once_and_by_name(address, tmp_path):
    application = tmp_path / "application.yaml"
    application.write_text("apiVersion: v1\n")
    kubernetes = platforms.Kubernetes(str(application), api=address, token="hush")
    with pytest.raises(AirflowFailException, match=r"application\.yaml is not usable"):
        kubernetes.start("enrich_catalog.py", [], "name")


def test_outside_of_a_pod_the_missing_token_is_named(address):
    with pytest.raises(AirflowFailException, match="catalog_platform_secret_token"):
        platforms.Kubernetes("application.json", api=address).poll("name")


def test_without_a_place_for_summaries_no_job_is_started(tmp_path):
    job = job_of('{"kind": "databricks", "host": "http://x", "job": 1}', tmp_path)
    job.summaries = ""
    with pytest.raises(AirflowFailException, match="catalog_summaries"):
        run(job)
