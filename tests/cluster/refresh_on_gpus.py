"""The driver of the cluster test: one refresh whose labels are the devices they came from."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from bench import fake_engine
from bench.fake_engine import FakeEngineSpec
from enrich.config import JobConfig
from enrich.engine.columns import AttributeAnswers, to_record_batch
from enrich.images.store import ImageStore
from enrich.lexicon import ProductText
from enrich.records import EncodedProduct, Modalities, Product, Status
from enrich.spark.inputs import Inputs, Request
from enrich.spark.refresh import Refresh
from enrich.spark.source import open_source
from expectations.checks import Verdict

DEVICES = ("cuda:0", "cuda:1")


@dataclass(frozen=True, slots=True)
class DeviceSpec(FakeEngineSpec):
    """Recipe of an engine that answers with the device it was built for."""

    def build(self, device: object) -> "DeviceEngine":  # type: ignore[override]
        return DeviceEngine(str(device))

    def build_answerer(self) -> "DeviceAnswerer":  # type: ignore[override]
        return DeviceAnswerer()


class DeviceEngine:
    """Encodes its own device."""

    def __init__(self, device: str) -> None:
        self._vectors = np.array([DEVICES.index(device)], "<f2").tobytes()

    def encode(self, products: Iterable[Product]) -> Iterator[EncodedProduct]:
        for product in products:
            read = (product.product_id, Status.OK, Modalities.TEXT)
            yield EncodedProduct(*read, self._vectors)


class DeviceAnswerer:
    """Answers with the device that the vectors name."""

    def answer(
        self,
        vectors: Sequence[bytes],
        modalities: Sequence[str],
        texts: Sequence[ProductText],
        categories: Sequence[str | None] | None = None,
    ) -> pa.RecordBatch:
        places = np.frombuffer(b"".join(vectors), "<f2").astype(np.int64).reshape(-1, 1)
        sure = np.ones_like(places, dtype=np.float64)
        given = np.full(len(places), -1)
        return to_record_batch([AttributeAnswers("color", DEVICES, places, sure, given)])


def main(master: str, folder: Path, catalog: Path, gpu_executors: str) -> None:
    for module in (fake_engine, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)
    settings = json.loads(gpu_executors)
    derby = f"jdbc:derby:;databaseName={folder / 'metastore'};create=true"
    builder = SparkSession.builder.master(master).enableHiveSupport()
    spark = builder.config("spark.hadoop.javax.jdo.option.ConnectionURL", derby).getOrCreate()
    chunks = {"products_per_chunk": 100, "seconds_per_chunk": 0} if settings else {}
    config = JobConfig(database="shop", products_per_task=10, gpu_executors=settings, **chunks)
    spec = DeviceSpec(attributes={"color": DEVICES})
    inputs = Inputs(
        spark,
        config,
        Request(run_date=date(2026, 11, 25)),
        spec,
        ImageStore(str(folder)),
        open_source(spark, str(catalog), config.columns),
    )
    summary = Refresh(inputs, OpenGate()).run()
    rows = spark.sql("SELECT color, count(*) AS products FROM shop.product_attributes GROUP BY 1")
    found = {row["color"]: row["products"] for row in rows.collect()}
    said = {"devices": found, "loads": summary.engine_loads, "executors": count_gpus(spark)}
    print(json.dumps(said))


def count_gpus(spark: SparkSession) -> dict[str, list[int]]:
    """Returns the GPUs that each executor held: those of the session's settings, and all others.

    Executors that have gone are counted, too.
    """
    executors = spark.sparkContext._jsc.sc().statusStore().executorList(False)
    counts: dict[str, list[int]] = {"of_settings": [], "of_inference": []}
    for executor in (executors.apply(n) for n in range(executors.size())):
        if executor.id() != "driver":
            kind = "of_inference" if executor.resourceProfileId() else "of_settings"
            gpus = executor.resources().get("gpu")
            counts[kind].append(len(gpus.get().addresses()) if gpus.isDefined() else 0)
    return counts


class OpenGate:
    """A gate that checks nothing."""

    max_unusable_id_share = 1.0

    def check_input(self, *_: Any) -> Verdict:
        return Verdict()

    def check_candidates(self, *_: Any, **__: Any) -> Verdict:
        return Verdict()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
