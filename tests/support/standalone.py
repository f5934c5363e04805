"""A real standalone cluster on this machine: a master and workers, each its own process."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pyspark

_SPARK_CLASS = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
# The project's own settings keep only warnings; what has started is an information.
_LOG4J = """
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %m%n%ex
"""


class Worker(NamedTuple):
    """A worker: its properties file, and a command in front of the one that starts it."""

    properties: str | None = None
    starter: tuple[str, ...] = ()


@contextmanager
def standalone_cluster(folder: Path, workers: Sequence[Worker]) -> Iterator[str]:
    """Give the address of a master with these workers, of two cores each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    master = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        command = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"]
        command = [_SPARK_CLASS, *command, "--port", str(port), "--webui-port", "0"]
        _start(stack, folder / "master.log", command)
        _wait_for(folder / "master.log", "I have been elected leader")
        for number, (properties, starter) in enumerate(workers):
            log = folder / f"worker-{number}.log"
            command = [*starter, _SPARK_CLASS, "org.apache.spark.deploy.worker.Worker"]
            command += ["--host", "127.0.0.1", "--cores", "2", "--memory", "2g"]
            command += ["--webui-port", "0", "--work-dir", str(folder / f"work-{number}")]
            command += ["--properties-file", properties] if properties else []
            _start(stack, log, [*command, master])
            _wait_for(log, "Successfully registered with master")
        yield master


def with_python() -> dict[str, str]:
    """Return an environment in which executors start the Python of the tests."""
    return os.environ | {"PYSPARK_PYTHON": sys.executable}


def _start(stack: ExitStack, log: Path, command: Sequence[str]) -> None:
    output = stack.enter_context(log.open("w"))
    settings = log.with_suffix(".properties")
    settings.write_text(_LOG4J)
    daemon = {"SPARK_DAEMON_JAVA_OPTS": f"-Dlog4j2.configurationFile=file:{settings}"}
    process = subprocess.Popen(command, stdout=output, stderr=output, env=with_python() | daemon)
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)


def _wait_for(log: Path, words: str, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not re.search(words, log.read_text()):
        if time.monotonic() > end:
            raise TimeoutError(f"no '{words}' in {log.read_text()[-2000:]}")
        time.sleep(0.2)
