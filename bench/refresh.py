"""One catalog of a given size, enriched whole and then again with a few products changed.

Run as a process of its own, so that memory is that of one size: `python -m bench.refresh FOLDER
PRODUCTS CHANGED_SHARE PACE`, where the pace is in products per second.
A fake engine stands in for the model: it answers at a given pace, and computes next to nothing.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from bench.fake_engine import FakeEngineSpec
from enrich.config import JobConfig
from enrich.images.store import ImageStore
from enrich.spark.inputs import Inputs, Request
from enrich.spark.refresh import Refresh
from enrich.spark.runs import RunSummary
from enrich.spark.source import open_source
from expectations.checks import Verdict

_MB = 1e6
_SAMPLE_S = 3.0


def measure(folder: Path, products: int, changed_share: float, pace: float) -> dict[str, Any]:
    """Returns seconds of both runs, by stage too, and the driver's peak memory in MB.

    Args:
        folder: Where tables and product files are written.
        products: Size of the catalog.
        changed_share: Share of the products that differ at the second run.
        pace: Products a second that the engines of all cores answer together.
    """
    spark = open_session(folder)
    engine = FakeEngineSpec(seconds_per_product=psutil.cpu_count() / pace)
    catalog = draw_products(spark, products)
    catalog.write.parquet(str(folder / "before.parquet"))
    is_changed = F.rand(seed=0) < changed_share
    title = F.when(is_changed, F.concat("title", F.lit(" new"))).otherwise(F.col("title"))
    catalog.withColumn("title", title).write.parquet(str(folder / "after.parquet"))
    figures: dict[str, Any] = {"products": products}
    with _watched_memory(spark) as peaks:
        for name, day in (("before", 1), ("after", 2)):
            begin = time.perf_counter()
            summary = refresh(spark, engine, folder / f"{name}.parquet", date(2026, 11, day))
            figures[f"{name}_s"] = round(time.perf_counter() - begin, 2)
            figures[f"{name}_stages_s"] = summary.seconds
            figures[f"{name}_answered"] = summary.counts["answered"]
    # Executors that lose their driver fill the screen with errors.
    spark.stop()
    return figures | {"driver_memory_mb": round(max(peaks))}


def draw_products(spark: SparkSession, products: int) -> DataFrame:
    """Returns product rows with texts as long as a shop's, without images."""
    words = F.sha2(F.col("id").cast("string"), 256)
    return spark.range(products).select(
        F.col("id").cast("string").alias("product_id"),
        F.concat(F.lit("cotton shirt number "), F.col("id").cast("string")).alias("title"),
        F.concat_ws(" ", *(F.substring(words, at, 7) for at in range(1, 57, 8))).alias(
            "description"
        ),
        F.lit(None).cast("string").alias("image_path"),
    )


def refresh(
    spark: SparkSession, engine: FakeEngineSpec, catalog: Path, day: date, **settings: Any
) -> RunSummary:
    """Runs one refresh as the job would."""
    config = JobConfig(database="bench", catalog=str(catalog), **settings)
    inputs = Inputs(
        spark,
        config,
        Request(run_date=day),
        engine,
        ImageStore(str(catalog.parent)),
        open_source(spark, str(catalog), config.columns),
    )
    return Refresh(inputs, _OpenGate()).run()


class _OpenGate:
    """A gate that checks nothing."""

    max_unusable_id_share = 1.0

    def prepare(self) -> None:
        pass

    def check_input(self, *_: Any) -> Verdict:
        return Verdict()

    def check_candidates(self, *_: Any, **__: Any) -> Verdict:
        return Verdict()


def open_session(folder: Path, **more: str) -> SparkSession:
    """Return a session with tables in a folder, and executors in processes of their own."""
    # Executors in processes of their own: the driver's memory is then the driver's.
    settings: dict[str, Any] = {
        "spark.master": f"local-cluster[1,{psutil.cpu_count()},3072]",
        "spark.executor.memory": "3g",
        # Their Python workers load the fake engine.
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).parents[1]),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": (
            f"jdbc:derby:;databaseName={folder / 'metastore'};create=true"
        ),
    }
    builder = SparkSession.builder.appName("bench_refresh").enableHiveSupport()
    return builder.config(map=settings | more).getOrCreate()


def open_logged_session(folder: Path) -> SparkSession:
    """Return such a session whose event log `find_event_log` finds once it has stopped."""
    events = folder / "events"
    events.mkdir(parents=True)
    log = {"enabled": "true", "dir": events.as_uri(), "compress": "false"}
    log["rolling.enabled"] = "false"
    return open_session(folder, **{f"spark.eventLog.{name}": value for name, value in log.items()})


def find_event_log(folder: Path) -> Path:
    """Return the only event log of a folder."""
    (file,) = (one for one in (folder / "events").iterdir() if not one.name.startswith("."))
    return file


@contextmanager
def _watched_memory(spark: SparkSession) -> Iterator[list[float]]:
    """Yields a list that fills with the driver's memory in MB: what its JVM needs, and Python."""
    peaks: list[float] = []
    is_over = threading.Event()
    jvm: Any = spark.sparkContext._jvm
    pools = jvm.java.lang.management.ManagementFactory.getMemoryPoolMXBeans()

    def watch() -> None:
        python = psutil.Process()
        while not is_over.wait(_SAMPLE_S):
            # Collected first, because garbage fills a heap up to its limit. And what that left is
            # read, not what is used now: new garbage comes at hundreds of MB a second.
            jvm.java.lang.System.gc()
            left = [usage.getUsed() for pool in pools if (usage := pool.getCollectionUsage())]
            peaks.append((sum(left) + python.memory_info().rss) / _MB)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        is_over.set()
        watcher.join()


if __name__ == "__main__":
    folder, products, changed_share, pace = sys.argv[1:]
    print(json.dumps(measure(Path(folder), int(products), float(changed_share), float(pace))))
