"""A real standalone cluster on this machine: a master, and two workers with a GPU each.

There is no GPU here. A discovery script announces them, and torch in the executors is told that
there are two: which one a task takes is the same decision.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from own_process import with_support
from standalone import Worker, standalone_cluster

pytestmark = [pytest.mark.spark, pytest.mark.long]

DRIVER = Path(__file__).parent / "refresh_on_gpus.py"
TWO_GPUS = """
import torch
torch.cuda.device_count = lambda: 2
torch.cuda.is_available = lambda: True
"""


@pytest.fixture
def cluster(tmp_path):
    """The address of a master whose two workers announce GPU 0 and GPU 1."""
    workers = [Worker(announce(tmp_path, gpu)) for gpu in (0, 1)]
    with standalone_cluster(tmp_path, workers) as master:
        yield master


def announce(folder, gpu):
    """Returns a worker's properties file, which names a script that announces one GPU."""
    script = folder / f"discover-{gpu}.sh"
    script.write_text(f"""#!/bin/sh\necho '{{"name":"gpu","addresses":["{gpu}"]}}'\n""")
    script.chmod(0o755)
    properties = folder / f"worker-{gpu}.conf"
    properties.write_text(
        f"spark.worker.resource.gpu.amount 1\nspark.worker.resource.gpu.discoveryScript {script}\n"
    )
    return str(properties)


def run_refresh(cluster, folder, settings, gpu_executors):
    """Returns what a refresh with these settings says: devices by products, and executors' GPUs."""
    products = pd.DataFrame({"product_id": [f"p{n}" for n in range(400)], "title": "shirt"})
    products["description"] = products["image_path"] = pd.Series(None, dtype="string")
    products.to_parquet(folder / "products.parquet")
    (folder / "sitecustomize.py").write_text(TWO_GPUS)
    settings = {
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.executor.memory": "600m",
        "spark.executorEnv.PYTHONPATH": str(folder),
    } | settings
    arguments = [part for pair in settings.items() for part in ("--conf", "=".join(pair))]
    done = subprocess.run(
        [sys.executable, DRIVER, cluster, folder, folder / "products.parquet", gpu_executors],
        env=with_support(PYSPARK_SUBMIT_ARGS=" ".join([*arguments, "pyspark-shell"])),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_each_task_computes_on_the_gpu_that_spark_gave_it(cluster, tmp_path):
    settings = {
        "spark.executor.cores": "1",
        "spark.executor.resource.gpu.amount": "1",
        "spark.task.resource.gpu.amount": "1",
    }

    found = run_refresh(cluster, tmp_path, settings, "null")

    assert set(found["devices"]) == {"cuda:0", "cuda:1"}
    assert sum(found["devices"].values()) == 400
    assert set(found["loads"].values()) == {1}


def test_only_inference_holds_a_gpu_where_executors_are_told_apart(cluster, tmp_path):
    settings = {
        "spark.executor.cores": "1",
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.maxExecutors": "2",
    }
    gpu_executors = {"cores": 1, "gpus": 1, "memory": "600m", "memory_overhead": "400m"}

    found = run_refresh(cluster, tmp_path, settings, json.dumps(gpu_executors))

    assert set(found["devices"]) <= {"cuda:0", "cuda:1"}
    assert sum(found["devices"].values()) == 400
    assert set(found["executors"]["of_settings"]) == {0}
    # All chunks have the same executors.
    assert set(found["executors"]["of_inference"]) == {1}
    assert len(found["executors"]["of_inference"]) <= 2
