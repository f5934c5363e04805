"""A diff of changes against a diff of all products: seconds, and rows that are compared and read.

    python -m bench.changes FOLDER PRODUCTS [CHANGED_SHARE]

Over a generated Delta table without images, all of it published by a run that is made up, so that
nothing is encoded. The last line on standard output is one JSON object.
"""

import json
import sys
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from pyspark.sql import functions as F

from bench.fake_engine import FakeEngineSpec
from bench.refresh import draw_products, find_event_log, open_logged_session
from bench.scale import read_figures
from enrich.config import JobConfig
from enrich.images.store import ImageStore
from enrich.spark.inputs import Inputs, Request
from enrich.spark.runs import RunSummary, append_event, make_event, read_runs
from enrich.spark.session import name_jobs, tune_for_table_size
from enrich.spark.source import open_source
from enrich.spark.tables import schema_of
from schemas.tables import State

_COLUMNS: Any = {"image_path": None}


def measure(folder: Path, products: int, changed_share: float) -> dict[str, Any]:
    """Return seconds and rows of both diffs."""
    spark = open_logged_session(folder)
    table = str(folder / "products")
    feed = {"delta.enableChangeDataFeed": "true"}
    draw_products(spark, products).write.format("delta").options(**feed).save(table)
    inputs = prepare(spark, table)
    tables = inputs.tables
    tables.create_missing()
    tune_for_table_size(spark, inputs.source.products, tables.read("product_attributes"))
    header = inputs.make_header("20261101-00000000")
    diff = inputs.diff([], header.attempt)
    wanted = schema_of("product_attributes", tables.attributes)
    known = {
        "product_id": F.col("product_id"),
        "content_hash": F.col("content_hash"),
        "modalities": F.lit("text"),
        "status": F.lit("image_missing"),
        "model_version": F.lit(header.model_version),
        "run_id": F.lit(header.run_id),
        "run_date": F.lit(header.run_date),
        "enriched_at": F.lit(header.started_at),
    }
    columns = [known.get(f.name, F.lit(None)).cast(f.dataType).alias(f.name) for f in wanted]
    tables.append("product_attributes", diff.rows.select(*columns), header.run_id)
    diff.rows.unpersist()
    later = inputs.make_header(header.run_id)
    append_event(tables, make_event(later, State.NOTHING_TO_DO, RunSummary(), 0))
    spark.sql(
        f"UPDATE delta.`{table}` SET title = concat(title, ' new') "
        f"WHERE abs(xxhash64(product_id)) % 1000000 < {changed_share * 1_000_000:.0f}"
    )
    inputs = prepare(spark, table)
    found: dict[str, Any] = {"products": products}
    # The first one of each, and the diff above, are what Spark compiles by.
    for name, run in (("changes", "a"), ("full", "b"), ("changes", "c")):
        begin, spent = time.perf_counter(), cpu_seconds()
        with name_jobs(spark, f"run 20261102-0000000{run}: diff", group="diff"):
            own = inputs.make_header("zzz")
            runs = read_runs(tables)
            base = inputs.choose_base(own, runs) if name == "changes" else None
            diff = inputs.diff(runs, own.attempt, base)
        found[name] = {
            "seconds": round(time.perf_counter() - begin, 1),
            "cpu_seconds": round(cpu_seconds() - spent, 1),
            "compared": diff.read - diff.not_compared,
            "due": diff.count(*{one for one in diff.counts if one in ("new", "changed")}),
            "run": f"20261102-0000000{run}",
        }
        diff.rows.unpersist()
    spark.stop()
    sums: dict[str, dict[str, int]] = {}
    for run_id, _, figures in read_figures(find_event_log(folder)):
        of = sums.setdefault(run_id, {})
        for figure, value in figures.items():
            of[figure] = of.get(figure, 0) + value
    for name in ("changes", "full"):
        of = sums[found[name].pop("run")]
        found[name] |= {
            figure: of.get(figure, 0) for figure in ("rows", "read", "shuffled", "jobs")
        }
    return found


def cpu_seconds() -> float:
    """Return the processor time of this process and all below it, of Java and Python."""
    total = 0.0
    for one in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            # With that of processes below it that have ended.
            total += sum(one.cpu_times()[:4])
    return total


def prepare(spark: Any, table: str) -> Inputs:
    """Return what a refresh is given."""
    config = JobConfig(database="bench", catalog=table, columns=_COLUMNS)
    source = open_source(spark, table, config.columns)
    request = Request(run_date=date(2026, 11, 2))
    store = ImageStore(str(Path(table).parent))
    return Inputs(spark, config, request, FakeEngineSpec(), store, source)


if __name__ == "__main__":
    folder, count, *more = sys.argv[1:]
    print(json.dumps(measure(Path(folder), int(count), float(more[0]) if more else 0.001)))
