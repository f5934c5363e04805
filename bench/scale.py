"""Bytes that each stage of a run reads, shuffles and writes, by number of products.

    python -m bench.scale FOLDER PRODUCTS [CHANGED_SHARE]

Three runs with a fake engine over a generated table without pictures: all products are new, a share
of them has changed, nothing has changed. Figures are of Spark's event log; docs/scale.md has them.
The last line on standard output is one JSON object.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from bench.fake_engine import FakeEngineSpec
from bench.refresh import draw_products, find_event_log, open_logged_session, refresh

_NAMED = re.compile(r"\brun (\d{8}-[0-9a-f]{8})(?:: ([a-z]+))?")
# Fast enough for Spark to be what is measured.
_PACE = 20_000
_RUNS = ("all new", "changed", "unchanged")
_MB = 1e6


def observe(folder: Path, products: int, changed_share: float) -> dict[str, Any]:
    """Return the figures of three runs by stage, and the bytes of each table."""
    spark = open_logged_session(folder)
    engine = FakeEngineSpec(seconds_per_product=psutil.cpu_count() / _PACE)
    catalog = draw_products(spark, products)
    catalog.write.parquet(str(folder / "before.parquet"))
    is_changed = F.rand(seed=0) < changed_share
    title = F.when(is_changed, F.concat("title", F.lit(" new"))).otherwise(F.col("title"))
    catalog.withColumn("title", title).write.parquet(str(folder / "after.parquet"))
    named: dict[str, str] = {}
    seconds: dict[str, dict[str, float]] = {}
    for name, file, day in zip(_RUNS, ("before", "after", "after"), (1, 2, 3), strict=True):
        done = refresh(spark, engine, folder / f"{file}.parquet", date(2026, 11, day))
        named[done.run_id], seconds[name] = name, done.seconds
    spark.stop()
    stages: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in _RUNS}
    for run_id, stage, figures in read_figures(find_event_log(folder)):
        if run_id in named:
            stages[named[run_id]][stage].update(figures)
    return {
        "products": products,
        "seconds": seconds,
        "stages": {name: {s: dict(c) for s, c in of.items()} for name, of in stages.items()},
        "tables": {one.name: size_of(one) for one in folder.glob("warehouse/*.db/*")},
        "source": size_of(folder / "before.parquet"),
    }


def read_figures(log: Path) -> Iterator[tuple[str, str, dict[str, int]]]:
    """Yield run, stage and figures of each job and task of an event log."""
    owners: dict[int, tuple[str, str]] = {}
    with log.open() as lines:
        for event in map(json.loads, lines):
            kind = event["Event"]
            if kind == "SparkListenerJobStart":
                said = event["Properties"].get("spark.job.description", "")
                if found := _NAMED.search(said):
                    owner = found[1], found[2] or "ledger"
                    owners |= dict.fromkeys(event["Stage IDs"], owner)
                    yield *owner, {"jobs": 1}
            elif kind == "SparkListenerTaskEnd" and event["Stage ID"] in owners:
                metrics = event.get("Task Metrics") or {}
                shuffle = metrics.get("Shuffle Write Metrics", {})
                yield (
                    *owners[event["Stage ID"]],
                    {
                        "tasks": 1,
                        "read": metrics.get("Input Metrics", {}).get("Bytes Read", 0),
                        "rows": metrics.get("Input Metrics", {}).get("Records Read", 0),
                        "shuffled": shuffle.get("Shuffle Bytes Written", 0),
                        "written": metrics.get("Output Metrics", {}).get("Bytes Written", 0),
                        "cpu_ms": metrics.get("Executor CPU Time", 0) // 1_000_000,
                    },
                )


def size_of(folder: Path) -> dict[str, int]:
    """Return the bytes and the number of a table's data files and commits."""
    files = [file for file in folder.rglob("*.parquet") if "_delta_log" not in file.parts]
    commits = len([*folder.glob("_delta_log/*.json")])
    size = sum(file.stat().st_size for file in files)
    return {"bytes": size, "files": len(files), "commits": commits}


def main() -> None:
    """Measure and print."""
    folder, products, *more = sys.argv[1:]
    found = observe(Path(folder), int(products), float(more[0]) if more else 0.01)
    console = Console(width=120)
    for run, stages in found["stages"].items():
        table = Table("stage", "s", "jobs", "tasks", "rows", "MB read", "MB shuffled", "MB written")
        for stage, of in stages.items():
            sizes = (f"{of.get(name, 0) / _MB:,.1f}" for name in ("read", "shuffled", "written"))
            counts = (f"{of.get(name, 0):,}" for name in ("jobs", "tasks", "rows"))
            table.add_row(stage, f"{found['seconds'][run].get(stage, 0):,.1f}", *counts, *sizes)
        table.title = f"{run}, {found['products']:,} products"
        console.print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
