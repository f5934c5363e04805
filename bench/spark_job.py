"""The job's own encoding and answering on executors, without the tables around them."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import functions as F

from bench.setup import Setup
from bench.spark_session import open_spark, run_all
from bench.stage import Stage
from enrich.spark.answer import build_answer
from enrich.spark.encode import choose_tasks
from enrich.spark.progress import WorkByWorker
from enrich.spark.worker import VECTORS, build_encode
from schemas.tables import answer_columns


@contextmanager
def open_stages(setup: Setup) -> Iterator[dict[str, Stage]]:
    """Yields the job."""
    with open_spark(setup) as (spark, products):
        spec, config = setup.spec(), setup.config()
        works = spark.sparkContext.accumulator({}, WorkByWorker())
        nothing = {name: F.lit(None).cast("string") for name in ("image_digest", "replaces")}
        rows = products.withColumns({**nothing, "content_hash": F.lit("")})
        kept = "product_id", "op", "reason", "replaces", "product_category"

        def enrich(count: int) -> int:
            asked = rows.limit(count).repartition(choose_tasks(count, config, setup.tasks))
            encoded = asked.mapInPandas(
                build_encode(spec, works), f"content_hash STRING, {VECTORS}"
            )
            encoded = encoded.withColumns({n: F.lit(None).cast("string") for n in kept})
            names = ", ".join(f"{name} STRING" for name in kept)
            read = "content_hash STRING, modalities STRING, status STRING, error STRING"
            schema = f"{names}, {read}, {answer_columns(spec.attributes)}"
            order = [*kept, "content_hash", "modalities", "status", "error", "vectors"]
            run_all(encoded.select(*order).mapInArrow(build_answer(spec), schema))
            return count

        few = setup.tasks * config.batch_size
        yield {"job": Stage(lambda: enrich(setup.products), lambda: enrich(few))}
