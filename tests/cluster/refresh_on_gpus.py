"""The driver of the cluster test: one refresh whose labels are the devices they came from."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from enrich.spark.inputs import Inputs
from enrich.spark.records import InputRows, RunRequest, StagedRows
from enrich.spark.run import Refresh
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from enrich.config import JobConfig
from enrich.fake_engine import FakeEngine, FakeEngineSpec
from enrich.images.store import ImageStore
from enrich.records import EnrichedProduct, Modalities, Prediction, Product, Status
from enrich.spark.source import open_source
from schemas.verdict import Verdict


@dataclass(frozen=True, slots=True)
class DeviceSpec(FakeEngineSpec):
    """Recipe of an engine that answers with the device it was built for."""

    def build(self, device: object) -> "DeviceEngine":
        return DeviceEngine(str(device))


class DeviceEngine(FakeEngine):
    def __init__(self, device: str) -> None:
        super().__init__({})
        self._device = device

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        for product in products:
            said = Prediction("color", self._device, 1.0, False, None, ())
            yield EnrichedProduct(product.product_id, Status.OK, Modalities.TEXT, (said,))


def main(master: str, folder: Path, catalog: Path, gpu_executors: str) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    settings = json.loads(gpu_executors)
    derby = f"jdbc:derby:;databaseName={folder / 'metastore'};create=true"
    builder = SparkSession.builder.master(master).enableHiveSupport()
    spark = builder.config("spark.hadoop.javax.jdo.option.ConnectionURL", derby).getOrCreate()
    config = JobConfig(database="shop", products_per_task=10, gpu_executors=settings)
    spec = DeviceSpec(attributes={"color": ("cuda:0", "cuda:1")})
    inputs = Inputs(
        spark,
        config,
        RunRequest(run_date=date(2026, 11, 25)),
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
    """Judges nothing."""

    max_unusable_id_share = 1.0

    def validate_input(self, rows: InputRows) -> Verdict:
        return Verdict()

    def validate_staged(self, staged: StagedRows) -> Verdict:
        return Verdict()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
