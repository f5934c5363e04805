"""What the DAGs are before any of them runs."""

import os
import re
import subprocess
import sys
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")

from airflow.cli.cli_parser import get_parser
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"refresh_catalog", "reenrich_catalog", "publish_blocked_run", "maintain_tables"}


@pytest.fixture(scope="module")
def dags():
    def refuse(*_, **__):
        raise RuntimeError("a DAG file asks Airflow's database while it is parsed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Variable, "get", refuse)
        # Parsed anew, with all that the DAG files import from beside them.
        for module in [name for name in sys.modules if name.startswith("catalog_tasks")]:
            patch.delitem(sys.modules, module)
        bag = DagBag(str(ROOT / "airflow_dags"))
    assert bag.import_errors == {}
    return bag.dags


def spark_jobs(dags):
    return [task for dag in dags.values() for task in dag.tasks if task.task_type == "SparkJob"]


def test_all_dags_load_without_an_error_and_without_a_variable(dags):
    assert set(dags) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_dag_has_one_run_at_a_time_and_makes_up_for_no_past_day(dags, name):
    assert dags[name].max_active_runs == 1
    assert dags[name].catchup is False
    assert dags[name].doc_md


def queue_for_the_cluster(dags):
    return [task for dag in dags.values() for task in dag.tasks if task.pool == "gpu_cluster"]


def test_spark_jobs_and_the_gate_between_them_queue_for_the_cluster_and_nothing_else(dags):
    queued = queue_for_the_cluster(dags)
    assert [task for task in queued if task.task_id != "gate"] == spark_jobs(dags)
    assert len(spark_jobs(dags)) == 6
    assert len(queued) == 8


def test_refresh_waits_stages_asks_the_gate_and_publishes(dags):
    dag = dags["refresh_catalog"]
    assert [task.task_id for task in dag.topological_sort()] == [
        "wait_for_products",
        "stage",
        "gate",
        "publish",
    ]
    assert [asset.name for asset in dag.get_task("publish").outlets] == ["product_attributes"]


def test_only_products_at_an_absolute_local_path_are_waited_for(dags, tmp_path):
    is_there = dags["refresh_catalog"].get_task("wait_for_products").python_callable
    table = tmp_path / "products.csv"
    assert not is_there(str(table))
    table.touch()
    os.utime(table, (0, 0))
    assert is_there(str(table))
    assert is_there("shop.products") and is_there("s3a://shop/products") and is_there("")


def test_the_gate_without_a_result_of_stage_says_what_to_clear(dags):
    gate = dags["refresh_catalog"].get_task("gate").python_callable
    # As where a person has marked stage as success.
    with pytest.raises(AirflowFailException, match="Clear stage"):
        gate(None)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (AirflowSensorTimeout("Sensor has timed out"), "{0} is not there. Sensor has timed out"),
        (PermissionError("/shop"), "/shop"),
    ],
)
def test_of_products_that_did_not_come_it_is_told_where_they_were_looked_for_and_what_was_found(
    dags, tmp_path, raised, told
):
    dag, products, kept = dags["refresh_catalog"], tmp_path / "products.csv", dict[str, str]()
    task_instance = SimpleNamespace(
        # As Airflow has filled it in.
        task=SimpleNamespace(op_args=[str(products)]),
        task_id="wait_for_products",
        try_number=1,
        log_url="http://airflow/log",
        xcom_push=lambda key, value: kept.update({key: value}),
    )
    context = {"dag": dag, "run_id": "r1", "ti": task_instance, "exception": raised}
    (callback,) = dag.get_task("wait_for_products").on_failure_callback
    callback(context)
    assert kept == {"error": told.format(products)}


def test_the_documented_backfill_runs_every_day_that_it_names(dags):
    docs = (ROOT / "docs" / "airflow.md").read_text()
    (arguments,) = re.findall(r"^airflow_dags/local\.sh (backfill create .*)$", docs, re.MULTILINE)
    asked = get_parser().parse_args(arguments.split())
    # Only what the scheduler keeps of a DAG can be asked for its days.
    dag = DagSerialization.from_dict(DagSerialization.to_dict(dags[asked.dag_id]))
    runs = dag.iter_dagrun_infos_between(asked.from_date, asked.to_date)
    assert [run.logical_date.date().isoformat() for run in runs] == [
        "2026-11-01",
        "2026-11-02",
        "2026-11-03",
    ]


def test_blanks_and_line_ends_around_a_variable_are_none_of_it(dags):
    class Padded:
        def get(self, name, default):
            return f" /shop/{name} of {{run_date}}\r\n"

    day = datetime(2026, 11, 1, tzinfo=UTC)
    context = {
        "var": {"value": Padded()},
        "run_id": "r1",
        "dag_run": SimpleNamespace(logical_date=day),
    }
    dag = dags["refresh_catalog"]
    environment = dag.get_template_env()

    def filled_in(template):
        return environment.from_string(template).render(context)

    stage = dag.get_task("stage")
    (products,) = dag.get_task("wait_for_products").op_args
    assert filled_in(products) == "/shop/catalog_products of 2026-11-01"
    assert filled_in(stage.flags["--catalog"]) == "/shop/catalog_products of 2026-11-01"
    assert filled_in(stage.flags["--config"]) == "/shop/catalog_config of {run_date}"
    assert filled_in(stage.flags["--database"]) == "/shop/catalog_database of {run_date}"
    assert filled_in(stage.checkout) == "/shop/catalog_checkout of {run_date}"


def test_blanks_and_line_ends_around_what_a_person_gives_a_dag_are_none_of_it(dags):
    for name, step, flags in (
        ("publish_blocked_run", "publish", {"--publish-run", "--reason", "--checkpoint"}),
        ("reenrich_catalog", "stage", {"--checkpoint"}),
        ("reenrich_catalog", "publish", {"--checkpoint"}),
    ):
        environment = dags[name].get_template_env()
        job = dags[name].get_task(step)
        for padded, meant in ((" s3://lake/our shop \r\n", "s3://lake/our shop"), ("  ", "")):
            given = {"params": dict.fromkeys(dags[name].params, padded)}
            for flag in flags:
                assert environment.from_string(job.flags[flag]).render(given) == meant


@pytest.mark.parametrize("name", ["run_id", "reason"])
def test_without_a_run_or_a_reason_no_blocked_run_is_published_and_no_other_one_started(dags, name):
    # Without an id the job would take this for a refresh.
    given = deepcopy(dags["publish_blocked_run"].params.get_param(name))
    for blank in ("", " ", "\r\n"):
        with pytest.raises(ParamValidationError):
            given.resolve(blank)
    assert given.resolve(" a word ") == " a word "


def test_what_is_staged_is_judged_and_published_before_anything_else_is_staged(dags):
    # The scheduler asks its own kind of a DAG.
    weights: dict[str, set[int]] = {}
    for dag in dags.values():
        read = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        for step in queue_for_the_cluster({"": read}):
            weight = step.weight_rule.get_weight(SimpleNamespace(task=step))
            weights.setdefault(step.task_id, set()).add(weight)
    others = weights["stage"] | weights["maintain"]
    assert min(weights["gate"] | weights["publish"]) > max(others)


def test_every_spark_job_is_retried_later_and_later_ends_in_time_and_tells_of_failure(dags):
    for job in spark_jobs(dags):
        assert job.retries == 3
        assert job.retry_exponential_backoff == 2
        assert timedelta(hours=1) <= job.execution_timeout <= timedelta(hours=12)
    for dag in dags.values():
        assert dag.on_failure_callback
        assert all(task.on_failure_callback for task in dag.tasks)


@cache
def help_of(job: str) -> str:
    command = [ROOT / ".venv" / "bin" / "python", ROOT / "jobs" / job, "--help"]
    env = {"COLUMNS": "200", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_job_knows_every_flag_that_a_dag_gives_it(dags, name):
    for job in spark_jobs({name: dags[name]}):
        known = set(re.findall(r"--[a-z-]+", help_of(job.job)))
        assert set(job.flags) <= known
