"""A job as a task: its exit codes, its environment, its last line, and its end."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout
from catalog_tasks.spark_job import SparkJob

SUMMARY = {"run_id": "r1", "outcome": "published", "counts": {"read": 3}}
PRINT = f"echo 'a warning'; echo '{json.dumps(SUMMARY)}'"


def spark_job(checkout, **given):
    """Returns the task as it is once its templates are filled in."""
    settings = {"flags": {}, "spark_submit": "", "platform": "", **given}
    return SparkJob(task_id="job", job="a_job.py", checkout=str(checkout), **settings)


def run(job):
    return job.execute({})


def test_the_last_line_is_the_result(fake_checkout):
    assert run(spark_job(fake_checkout(PRINT))) == SUMMARY


@pytest.mark.parametrize("exit_code", [2, 3])
def test_wrong_settings_and_failed_validation_are_not_retried(fake_checkout, exit_code):
    checkout = fake_checkout(f"echo 'error: no such thing'; exit {exit_code}")
    with pytest.raises(AirflowFailException, match="error: no such thing"):
        run(spark_job(checkout))


@pytest.mark.parametrize(
    "line",
    [
        {"run_id": "r1", "outcome": "staged", "error": "too much is gone", "report": None},
        {"time": "2026-11-29", "level": "error", "message": "too much is gone"},
    ],
    ids=["of the run", "of the log"],
)
def test_of_a_last_line_in_json_the_error_alone_is_told(fake_checkout, line):
    checkout = fake_checkout(f"echo '{json.dumps(line)}'; exit 3")
    with pytest.raises(AirflowFailException, match=r"would not change: too much is gone$"):
        run(spark_job(checkout))


@pytest.mark.parametrize("script", ["exit 1", "exit 137", "kill -9 $$", "exit 127"])
def test_anything_else_is_retried(fake_checkout, script):
    with pytest.raises(AirflowException) as failed:
        run(spark_job(fake_checkout(script)))
    assert not isinstance(failed.value, AirflowFailException)


def test_where_spark_submit_alone_has_spoken_its_variable_is_named(fake_checkout):
    checkout = fake_checkout("echo 'Error: Unrecognized option: --mastr'; echo '      '; exit 1")
    with pytest.raises(AirflowException, match="Variable catalog_spark_submit"):
        run(spark_job(checkout))


def test_where_the_job_has_spoken_its_last_word_is_told_alone(fake_checkout):
    checkout = fake_checkout("echo 'error: no answer'; exit 1")
    with pytest.raises(AirflowException, match=r"which may pass: error: no answer$"):
        run(spark_job(checkout))


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"checkout": "nowhere"}, "catalog_checkout"),
        ({"checkout": "a_file"}, "catalog_checkout"),
        ({"checkout": "bare"}, "catalog_checkout"),
        ({"checkout": "not_executable"}, "catalog_checkout"),
        ({"spark_submit": "--conf 'spark.x=a b"}, "catalog_spark_submit"),
    ],
)
def test_what_cannot_be_started_is_not_retried_and_the_variable_is_named(
    fake_checkout, tmp_path, monkeypatch, given, variable
):
    # No other spark-submit of this machine is to be found.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    (tmp_path / "bare").mkdir()
    spark_submit = tmp_path / "not_executable" / ".venv" / "bin" / "spark-submit"
    spark_submit.parent.mkdir(parents=True)
    spark_submit.touch(0o644)
    settings = {"checkout": str(fake_checkout(PRINT)), **given}
    with pytest.raises(AirflowFailException, match=variable):
        run(spark_job(**settings))


def test_an_accepted_exit_code_is_a_result(fake_checkout):
    job = spark_job(fake_checkout(f"{PRINT}; exit 3"), accepted=(0, 3))
    assert run(job) == SUMMARY


@pytest.mark.parametrize("line", ["Done.", "[1]", ""])
def test_a_job_without_its_json_line_has_failed(fake_checkout, line):
    with pytest.raises(AirflowException, match="its last line is not JSON"):
        run(spark_job(fake_checkout(f"echo '{line}'")))


def test_the_job_sees_its_own_environment_and_not_airflows(fake_checkout, monkeypatch):
    for name in ("SPARK_HOME", "PYSPARK_PYTHON", "PYTHONPATH", "AIRFLOW__CORE__FERNET_KEY"):
        monkeypatch.setenv(name, "of another")
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-Da=b")
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "/scratch")
    monkeypatch.setenv("AWS_PROFILE", "shop")
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    checkout = fake_checkout(f"{sys.executable} -c '{show}'")
    seen = run(spark_job(checkout))
    assert "of another" not in seen.values()
    assert (seen["SPARK_SUBMIT_OPTS"], seen["AWS_PROFILE"]) == ("-Da=b", "shop")
    assert seen["SPARK_LOCAL_DIRS"] == "/scratch"
    assert seen["PATH"].startswith(f"{checkout}/.venv/bin:")


def test_flags_are_words_that_no_value_can_break_out_of(fake_checkout):
    words = 'import json, sys; print(json.dumps({"words": sys.argv[1:]}))'
    checkout = fake_checkout(f"{sys.executable} -c '{words}' \"$@\"")
    flags = {"--reason": "--drop-run x; rm -rf /", "--empty": "", "--on": True, "--off": False}
    job = spark_job(checkout, flags=flags, spark_submit='--conf "spark.x=a b"')
    assert run(job)["words"] == [
        # Before the user's own, so that those hold.
        "--conf",
        "spark.ui.showConsoleProgress=false",
        "--conf",
        "spark.x=a b",
        "jobs/a_job.py",
        "--reason=--drop-run x; rm -rf /",
        "--on",
    ]


def test_an_asset_event_says_which_run_and_which_version(fake_checkout):
    table = Asset("a_table")
    summary = {**SUMMARY, "table_versions": {"product_attributes": 7}, "seconds": {"survey": 1}}
    job = spark_job(fake_checkout(f"echo '{json.dumps(summary)}'"), outlets=[table])
    event = SimpleNamespace(extra=None)
    job.execute({"outlet_events": {table: event}})
    assert event.extra == {
        "run_id": "r1",
        "counts": {"read": 3},
        "table_versions": {"product_attributes": 7},
    }


def group_of(process):
    """Returns the process group, None of a process that has just ended."""
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None


def test_a_task_out_of_time_leaves_no_process_behind(fake_checkout):
    job = spark_job(fake_checkout("sleep 300 & echo started; wait"))
    # What Airflow's task runner does with an execution_timeout.
    with pytest.raises(AirflowTaskTimeout), timeout(2):
        run(job)
    spark_submit = job.process.sub_process
    group = [p for p in psutil.process_iter() if group_of(p) == spark_submit.pid]
    assert len(group) == 2, "the script and its child"
    job.on_kill()
    assert spark_submit.wait(10) == -signal.SIGTERM
    assert psutil.wait_procs(group, timeout=10)[1] == []


def test_a_task_whose_process_is_killed_leaves_no_spark_behind(fake_checkout, tmp_path, waited):
    started = tmp_path / "pid"
    checkout = fake_checkout(f"echo $$ > {started}.part; mv {started}.part {started}; sleep 300")
    program = (
        "from catalog_tasks.spark_job import SparkJob\n"
        "SparkJob(task_id='job', job='a_job.py', flags={}, spark_submit='', platform='', "
        f"checkout={str(checkout)!r}).execute({{}})"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    task = subprocess.Popen([sys.executable, "-c", program], env=env)
    waited(lambda: started.exists() or task.poll() is not None, "Spark")
    spark_submit = psutil.Process(int(started.read_text()))
    try:
        task.kill()  # as the kernel does where memory is short: nothing of the task's is run
        task.wait()
        spark_submit.wait(10)
    finally:
        with suppress(psutil.NoSuchProcess):
            os.killpg(spark_submit.pid, signal.SIGKILL)
