"""What Airflow makes of a job's end, in a real scheduler; the job itself is a shell script here."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import psutil
import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")

STAGED = {
    "run_id": "r1",
    "outcome": "staged",
    "counts": {"read": 60, "answered": 57, "missing": 0},
    "report": "report.html",
    "error": None,
}
PUBLISHED = {**STAGED, "outcome": "published"}
STAGE_AND_PUBLISH = f"""
case "$*" in
    *--publish-run*) echo '{json.dumps(PUBLISHED)}' ;;
    *) echo '{json.dumps(STAGED)}' ;;
esac"""


@pytest.fixture
def refresh(airflow, fake_checkout):
    """Returns a function that runs a refresh whose job is a script: tasks, run id, run's state."""

    def run(script, **variables):
        airflow.set_variables(catalog_checkout=fake_checkout(script), **variables)
        airflow.switch_on("reenrich_catalog")
        run_id, state = airflow.run("reenrich_catalog")
        return airflow.tasks("reenrich_catalog", run_id), run_id, state

    return run


@pytest.fixture
def webhook():
    """An address that takes POSTs, and what was posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook-of-the-test", posted
    server.shutdown()


def test_airflow_s_pages_are_on_this_machine_only(served):
    of_airflow = [served[0].pid, *(p.pid for p in psutil.Process(served[0].pid).children(True))]
    listening = {
        c.laddr.ip
        for c in psutil.net_connections("inet")
        if c.pid in of_airflow and c.status == psutil.CONN_LISTEN and c.laddr.port == served[1].port
    }
    assert listening == {"127.0.0.1"}


def test_a_refresh_is_staged_passes_the_gate_and_is_published(airflow, refresh):
    before = len(airflow.events("product_attributes"))
    tasks, run_id, state = refresh(STAGE_AND_PUBLISH)
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(
        ("stage", "gate", "publish"), "success"
    )
    assert state == "success"
    staged = words_of(tasks["stage"])
    assert {f"--run-id={run_id}", "--full-refresh", "--no-publish"} <= staged
    # An attempt has an id of its own, which stage returned.
    assert "--publish-run=r1" in words_of(tasks["publish"])
    (event,) = airflow.events("product_attributes")[before:]
    assert event["extra"]["counts"]["answered"] == 57


def words_of(task):
    """Returns the command line that a task's templates were filled in to."""
    flags = task["rendered_fields"]["flags"]
    return {name if value is True else f"{name}={value}" for name, value in flags.items()}


def test_an_infrastructure_error_is_tried_again(airflow, refresh, tmp_path):
    once = f"[ -e {tmp_path}/failed ] || {{ touch {tmp_path}/failed; exit 1; }}"
    tasks, _, state = refresh(once + STAGE_AND_PUBLISH)
    assert state == "success"
    assert {name: task["try_number"] for name, task in tasks.items()} == {
        "stage": 2,
        "gate": 1,
        "publish": 1,
    }


def test_a_wrong_configuration_is_tried_once_and_somebody_is_told(
    airflow, refresh, webhook, waited
):
    url, posted = webhook
    script = "echo \"error: unknown key 'catalogue'\"; exit 2"
    tasks, run_id, state = refresh(script, catalog_alert_secret_url=url)
    assert state == "failed"
    assert (tasks["stage"]["state"], tasks["stage"]["try_number"]) == ("failed", 1)
    assert tasks["publish"]["state"] == "upstream_failed"
    (told,) = waited(lambda: posted, "an alert")
    assert (told["dag_id"], told["task_id"], told["run_id"]) == (
        "reenrich_catalog",
        "stage",
        run_id,
    )
    assert "reenrich_catalog.stage failed" in told["text"]
    assert "unknown key 'catalogue'" in told["text"]
    log = airflow.log("reenrich_catalog", run_id, "stage")
    assert 'catalog_task_failed {"text": "reenrich_catalog.stage failed' in log
    assert "hook-of-the-test" not in log


def test_somebody_is_told_of_a_task_whose_own_process_was_killed(airflow, refresh, webhook, waited):
    url, posted = webhook
    # As the kernel kills it for its memory, in every try.
    tasks, run_id, state = refresh("kill -9 $PPID", catalog_alert_secret_url=url)
    assert state == "failed"
    assert (tasks["stage"]["state"], tasks["stage"]["try_number"]) == ("failed", 4)
    (told,) = waited(lambda: posted, "an alert")
    assert (told["task_id"], told["run_id"], told["try_number"]) == ("stage", run_id, 4)
    assert "its process was killed" in told["text"]


def test_a_blocked_run_is_stopped_once_by_the_gate_which_says_why(
    airflow, refresh, webhook, waited
):
    url, posted = webhook
    blocked = {**STAGED, "outcome": "blocked", "error": "color: too many NULLs"}
    script = f"echo '{json.dumps(blocked)}'; exit 3"
    tasks, run_id, state = refresh(script, catalog_alert_secret_url=url)
    assert state == "failed"
    assert {name: (task["state"], task["try_number"]) for name, task in tasks.items()} == {
        "stage": ("success", 1),
        "gate": ("failed", 1),
        "publish": ("upstream_failed", 0),
    }
    (told,) = waited(lambda: posted, "an alert")
    assert (told["task_id"], told["run_id"]) == ("gate", run_id)
    assert "color: too many NULLs" in told["text"]
    log = airflow.log("reenrich_catalog", run_id, "gate")
    assert "color: too many NULLs" in log
    assert "publish_blocked_run" in log


def test_a_run_without_an_answer_publishes_nothing_and_tells_no_consumer(airflow, refresh):
    before = len(airflow.events("product_attributes"))
    counts = {"read": 60, "pending": 2, "answered": 0, "vanished": 0}
    unreadable = {**STAGED, "outcome": "nothing_to_do", "counts": counts}
    tasks, _, state = refresh(f"echo '{json.dumps(unreadable)}'")
    assert state == "success"
    assert tasks["publish"]["state"] == "skipped"
    assert len(airflow.events("product_attributes")) == before


@pytest.fixture
def start_long_job(fake_checkout, tmp_path, waited):
    """Returns a function that starts a job without end: the run's id, and whether it is gone."""
    pids = tmp_path / "pids"

    def start(airflow):
        # As Spark's Java, which takes its Python with it.
        end = "trap 'kill $!; exit 143' TERM"
        checkout = fake_checkout(f"{end}; sleep 300 & echo $! $$ > {pids}; wait")
        airflow.set_variables(catalog_checkout=checkout)
        airflow.switch_on("reenrich_catalog")
        run_id = airflow.trigger("reenrich_catalog")
        processes = waited(lambda: pids.exists() and pids.read_text().split(), "the job's start")
        return run_id, lambda: not any(psutil.pid_exists(int(pid)) for pid in processes)

    return start


def test_a_task_that_a_person_ends_takes_spark_with_it(airflow, start_long_job, waited):
    run_id, is_gone = start_long_job(airflow)
    stage = f"/dags/reenrich_catalog/dagRuns/{run_id}/taskInstances/stage"
    airflow.call("PATCH", stage, {"new_state": "failed"})
    waited(is_gone, "the job's end")
    assert airflow.finish("reenrich_catalog", run_id) == "failed"


def test_an_airflow_that_is_stopped_takes_spark_with_it(another_airflow, start_long_job, waited):
    process, airflow = another_airflow
    _, is_gone = start_long_job(airflow)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 0
    waited(is_gone, "the job's end")


def test_the_refresh_runs_by_the_clock_and_when_products_were_written_once_they_are_there(
    airflow, fake_checkout, tmp_path, waited
):
    checkout = fake_checkout(STAGE_AND_PUBLISH)

    def expect_products_in(folder):
        airflow.set_variables(
            catalog_checkout=checkout, catalog_products=folder / "{run_date}" / "products.parquet"
        )

    def write_products_and_finish(folder, run_type):
        (run,) = waited(lambda: airflow.runs("refresh_catalog", run_type=run_type), run_type)
        run_id, run_date = run["dag_run_id"], run["run_after"][:10]
        waited(
            lambda: (
                airflow.task_state("refresh_catalog", run_id, "wait_for_products")
                == "up_for_reschedule"
            ),
            "a sensor that waits",
        )
        table = folder / run_date / "products.parquet"
        table.parent.mkdir(parents=True)
        table.touch()
        os.utime(table, (0, 0))
        assert airflow.finish("refresh_catalog", run_id) == "success"
        stage = words_of(airflow.tasks("refresh_catalog", run_id)["stage"])
        assert f"--catalog={folder}/{run_date}/products.parquet" in stage
        assert f"--run-date={run_date}" in stage

    # Switched on, a DAG makes up for the one tick of the clock before now.
    expect_products_in(tmp_path / "by the clock")
    airflow.switch_on("refresh_catalog")
    write_products_and_finish(tmp_path / "by the clock", "scheduled")

    expect_products_in(tmp_path / "written")
    (asset,) = airflow.call("GET", "/assets", name_pattern="product_table")["assets"]
    airflow.call("POST", "/assets/events", {"asset_id": asset["id"]})
    write_products_and_finish(tmp_path / "written", "asset_triggered")
