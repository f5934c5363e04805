"""Share of time in which task slots are busy while contents are encoded.

    python -m bench.busy_slots FOLDER PRODUCTS [COMMIT_S]

Two executors' slots, an engine that thinks for 10 ms over each product, and a pause after the tasks
of each slow commit to `encodings`. The last line on standard output is one JSON object.
"""

import json
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

from pyspark.sql import DataFrame

from bench.fake_engine import FakeEngineSpec
from bench.refresh import draw_products, find_event_log, open_logged_session, refresh
from enrich.spark.tables import Tables, Transaction

_ENGINE = FakeEngineSpec(seconds_per_product=0.01)


def measure(folder: Path, products: int, commit_s: float, **settings: Any) -> dict[str, Any]:
    """Return the share of slot time in which tasks ran, from first to last."""
    spark = open_logged_session(folder)
    draw_products(spark, products).write.parquet(str(folder / "products.parquet"))
    append = Tables.append

    def append_slowly(
        self: Tables,
        table: str,
        rows: DataFrame,
        run_id: str,
        transaction: Transaction | None = None,
    ) -> None:
        append(self, table, rows, run_id, transaction)
        if table == "encodings":
            time.sleep(commit_s)

    with mock.patch.object(Tables, "append", append_slowly):
        catalog = folder / "products.parquet"
        summary = refresh(spark, _ENGINE, catalog, date(2026, 11, 1), **settings)
    slots = spark.sparkContext.defaultParallelism
    spark.stop()
    tasks, chunks = read_tasks(find_event_log(folder))
    first, last = min(begin for begin, _ in tasks), max(end for _, end in tasks)
    busy = sum(end - begin for begin, end in tasks) / (slots * (last - first))
    return {
        "products": summary.counts["encoded"],
        "chunks": chunks,
        "seconds": round((last - first) / 1000, 1),
        "slots_busy": round(busy, 3),
    }


def read_tasks(log: Path) -> tuple[list[tuple[int, int]], int]:
    """Return begin and end of each encoding task in ms, and the number of chunks."""
    stages, chunks, tasks = set[int](), set[int](), []
    with log.open() as lines:
        for event in map(json.loads, lines):
            if event["Event"] == "SparkListenerJobStart":
                said = event["Properties"].get("spark.job.description", "")
                if ": encode, chunk" in said:
                    # The last stage of a job encodes and writes.
                    stages.add(max(event["Stage IDs"]))
            elif event["Event"] == "SparkListenerTaskEnd" and event["Stage ID"] in stages:
                info = event["Task Info"]
                # Delta's own jobs over its log are as short as their tables.
                if event["Task Metrics"].get("Output Metrics", {}).get("Records Written", 0):
                    chunks.add(event["Stage ID"])
                    tasks.append((info["Launch Time"], info["Finish Time"]))
    return tasks, len(chunks)


if __name__ == "__main__":
    folder, products, *more = sys.argv[1:]
    commit_s = float(more[0]) if more else 3.0
    # Chunks that are encoded in five seconds, until the pace is known.
    print(json.dumps(measure(Path(folder), int(products), commit_s, products_per_chunk=1_000)))
