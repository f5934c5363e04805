"""The cost of a run with nothing to do, beside a bare spark-submit that counts one Delta table.

    python -m bench.fixed_cost

Runs the demo, so that the next runs have nothing to do, and then both in turn. Prints medians of
wall seconds and of processor seconds, and the statements, Spark jobs and seconds of each stage.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

_JOB = Path(__file__).parents[1] / "jobs" / "enrich_catalog.py"
_BARE = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.enableHiveSupport().getOrCreate()
print(spark.table("enriched.product_attributes").count())
"""
_REPETITIONS = 3
_SQL = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart"
_STAGE = "spark.jobGroup.id"


class Timed(NamedTuple):
    """A command that has ended: seconds, and its standard output's last line."""

    wall_s: float
    processor_s: float
    last_line: str


def run(script: Path, *options: str) -> Timed:
    """Run a script by spark-submit. Children's processor time counts.

    Raises:
        CalledProcessError: It failed.
    """
    command = ["spark-submit", *options, str(script)]
    begin, before = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall_s, after = time.perf_counter() - begin, os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    return Timed(wall_s, spent, done.stdout.strip().splitlines()[-1])


def count_by_stage(log: Path) -> tuple[Counter[str], Counter[str]]:
    """Return the SQL statements and the Spark jobs of each stage, from Spark's event log."""
    statements: Counter[str] = Counter()
    jobs: Counter[str] = Counter()
    for event in map(json.loads, log.read_text().splitlines()):
        if event["Event"] == _SQL:
            statements[event.get("jobGroupId") or "outside"] += 1
        elif event["Event"] == "SparkListenerJobStart":
            jobs[event["Properties"].get(_STAGE) or "outside"] += 1
    return statements, jobs


def observe(folder: Path) -> tuple[Counter[str], Counter[str], Mapping[str, float]]:
    """Run the job once with an event log; return its statements, jobs and seconds by stage."""
    settings = {"enabled": "true", "dir": folder.as_uri(), "compress": "false"}
    settings |= {"rolling.enabled": "false"}
    options = [f"spark.eventLog.{name}={value}" for name, value in settings.items()]
    done = run(_JOB, *(part for option in options for part in ("--conf", option)))
    (log,) = (file for file in folder.iterdir() if not file.name.startswith("."))
    return *count_by_stage(log), json.loads(done.last_line)["seconds"]


def _rows(values: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, ...]]:
    """Yield a row a stage, in the order of a run, and their sums."""
    statements, jobs, seconds = values
    for stage in (*seconds, *sorted((statements.keys() | jobs.keys()) - seconds.keys())):
        shown = f"{seconds[stage]:.1f}" if stage in seconds else ""
        yield stage, str(statements[stage]), str(jobs[stage]), shown
    total = sum(seconds.values())
    yield "sum", str(sum(statements.values())), str(sum(jobs.values())), f"{total:.1f}"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = folder / "bare.py"
        bare.write_text(_BARE)
        log = folder / "events"
        log.mkdir()
        run(_JOB)
        values = observe(log)
        timed: dict[str, list[Timed]] = {"bare spark-submit": [], "nothing to do": []}
        for _ in range(_REPETITIONS):
            timed["bare spark-submit"].append(run(bare))
            timed["nothing to do"].append(run(_JOB))
    report: dict[str, Any] = {}
    console = Console(file=sys.stdout)
    stages = Table("stage", "statements", "Spark jobs", "seconds")
    for row in _rows(values):
        stages.add_row(*row)
    console.print(stages)
    walls = Table("medians of 3", "wall s", "processor s")
    for what, runs in timed.items():
        wall_s, processor_s = (
            statistics.median(getattr(one, field) for one in runs)
            for field in ("wall_s", "processor_s")
        )
        walls.add_row(what, f"{wall_s:.1f}", f"{processor_s:.1f}")
        report[what] = wall_s, processor_s
    ratios = [b / a for a, b in zip(*report.values(), strict=True)]
    walls.add_row("ratio", *(f"{ratio:.2f}" for ratio in ratios))
    console.print(walls)


if __name__ == "__main__":
    main()
