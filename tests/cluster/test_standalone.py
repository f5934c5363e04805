"""A real standalone cluster on this machine: a master, and two workers with a GPU each.

There is no GPU here. A discovery script announces them, and torch in the executors is told that
there are two: which one a task takes is the same decision.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyspark
import pytest

pytestmark = [
    pytest.mark.spark,
    pytest.mark.long,
]

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
DRIVER = Path(__file__).parent / "refresh_on_gpus.py"
# The project's own settings keep only warnings; what has started is an information.
LOG4J = """
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %m%n%ex
"""
TWO_GPUS = """
import torch
torch.cuda.device_count = lambda: 2
torch.cuda.is_available = lambda: True
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a master whose two workers announce GPU 0 and GPU 1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    master = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        command = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"]
        start(stack, tmp_path / "master.log", *command, "--port", str(port), "--webui-port", "0")
        wait_for(tmp_path / "master.log", "I have been elected leader")
        for gpu in (0, 1):
            log = tmp_path / f"worker-{gpu}.log"
            properties = announce(tmp_path, gpu)
            worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1"]
            limits = ["--cores", "2", "--memory", "2g", "--webui-port", "0"]
            folder = ["--work-dir", str(tmp_path / f"work-{gpu}")]
            start(stack, log, *worker, *limits, *folder, "--properties-file", properties, master)
            wait_for(log, "Successfully registered with master")
        yield master


def start(stack: ExitStack, log: Path, *command: str) -> None:
    output = stack.enter_context(log.open("w"))
    settings = log.with_suffix(".properties")
    settings.write_text(LOG4J)
    daemon = {"SPARK_DAEMON_JAVA_OPTS": f"-Dlog4j2.configurationFile=file:{settings}"}
    command = (str(SPARK_CLASS), *command)
    process = subprocess.Popen(command, stdout=output, stderr=output, env=env() | daemon)
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)


def env() -> dict[str, str]:
    return os.environ | {"PYSPARK_PYTHON": sys.executable}


def wait_for(log: Path, words: str, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not re.search(words, log.read_text()):
        if time.monotonic() > end:
            raise TimeoutError(f"no '{words}' in {log.read_text()[-2000:]}")
        time.sleep(0.2)


def announce(folder: Path, gpu: int) -> str:
    """Returns a worker's properties file, which names a script that announces one GPU."""
    script = folder / f"discover-{gpu}.sh"
    script.write_text(f"""#!/bin/sh\necho '{{"name":"gpu","addresses":["{gpu}"]}}'\n""")
    script.chmod(0o755)
    properties = folder / f"worker-{gpu}.conf"
    properties.write_text(
        f"spark.worker.resource.gpu.amount 1\nspark.worker.resource.gpu.discoveryScript {script}\n"
    )
    return str(properties)


def run_refresh(cluster: str, folder: Path, settings: dict[str, str], gpu_executors: str) -> dict:
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
        env=env() | {"PYSPARK_SUBMIT_ARGS": " ".join([*arguments, "pyspark-shell"])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_each_task_computes_on_the_gpu_that_spark_gave_it(cluster: str, tmp_path: Path) -> None:
    settings = {
        "spark.executor.cores": "1",
        "spark.executor.resource.gpu.amount": "1",
        "spark.task.resource.gpu.amount": "1",
    }

    found = run_refresh(cluster, tmp_path, settings, "null")

    assert set(found["devices"]) == {"cuda:0", "cuda:1"}
    assert sum(found["devices"].values()) == 400
    assert set(found["loads"].values()) == {1}


def test_only_inference_holds_a_gpu_where_executors_are_told_apart(
    cluster: str, tmp_path: Path
) -> None:
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
    assert set(found["executors"]["of_inference"]) == {1}
