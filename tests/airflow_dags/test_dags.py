"""What the DAGs are before any of them runs."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow", reason="AIRFLOW ABSENT: not tested here; make test-airflow does")

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Variable

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"refresh_catalog", "reenrich_catalog", "publish_blocked_run", "maintain_tables"}


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("a DAG file asks Airflow's database while it is parsed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Variable, "get", refuse)
        # Parsed anew, with all that the DAG files import from beside them.
        for module in [name for name in sys.modules if name.startswith("catalog_tasks")]:
            patch.delitem(sys.modules, module)
        bag = DagBag(str(ROOT / "airflow_dags"))
    assert bag.import_errors == {}
    return bag.dags


def spark_jobs(dags: dict[str, Any]) -> list[Any]:
    return [task for dag in dags.values() for task in dag.tasks if task.task_type == "SparkJob"]


def test_all_dags_load_without_an_error_and_without_a_variable(dags: dict[str, Any]) -> None:
    assert set(dags) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_dag_has_one_run_at_a_time_and_makes_up_for_no_past_day(
    dags: dict[str, Any], name: str
) -> None:
    assert dags[name].max_active_runs == 1
    assert dags[name].catchup is False
    assert dags[name].doc_md


def test_only_spark_jobs_queue_for_the_cluster_and_all_of_them_do(dags: dict[str, Any]) -> None:
    queued = [t for dag in dags.values() for t in dag.tasks if t.pool == "gpu_cluster"]
    assert queued == spark_jobs(dags)
    assert len(queued) == 6


def test_refresh_waits_stages_asks_the_gate_and_publishes(dags: dict[str, Any]) -> None:
    dag = dags["refresh_catalog"]
    assert [task.task_id for task in dag.topological_sort()] == [
        "wait_for_products",
        "stage",
        "gate",
        "publish",
    ]
    assert [asset.name for asset in dag.get_task("publish").outlets] == ["product_attributes"]


def test_products_that_are_still_being_written_are_waited_for(
    dags: dict[str, Any], tmp_path: Path
) -> None:
    is_there = dags["refresh_catalog"].get_task("wait_for_products").python_callable
    file = tmp_path / "shop" / "part-0.parquet"
    assert not is_there(str(file.parent))
    file.parent.mkdir()
    file.touch()
    os.utime(file.parent, (0, 0))
    assert not is_there(str(file)) and not is_there(str(file.parent))
    os.utime(file, (0, 0))
    assert is_there(str(file)) and is_there(str(file.parent))
    parts = file.parent / "products"
    parts.mkdir()
    (parts / "part-1.parquet").touch()
    (file.parent / "gone.tmp").symlink_to("nowhere")
    for folder in (parts, file.parent):
        os.utime(folder, (0, 0))
    assert not is_there(str(file.parent))
    # Delta shows whole commits only.
    (parts / "_delta_log").mkdir()
    assert is_there(str(file.parent))
    assert is_there("shop.products") and is_there("s3a://shop/products")


def test_every_spark_job_is_retried_later_and_later_ends_in_time_and_tells_of_failure(
    dags: dict[str, Any],
) -> None:
    for job in spark_jobs(dags):
        assert job.retries == 3
        assert job.retry_exponential_backoff == 2
        assert timedelta(hours=1) <= job.execution_timeout <= timedelta(hours=12)
    for task in (task for dag in dags.values() for task in dag.tasks):
        assert task.on_failure_callback, task


@cache
def help_of(job: str) -> str:
    command = [ROOT / ".venv" / "bin" / "python", ROOT / "jobs" / job, "--help"]
    env = {"COLUMNS": "200", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_job_knows_every_flag_that_a_dag_gives_it(dags: dict[str, Any], name: str) -> None:
    for job in spark_jobs({name: dags[name]}):
        known = set(re.findall(r"--[a-z-]+", help_of(job.job)))
        assert set(job.flags) <= known
