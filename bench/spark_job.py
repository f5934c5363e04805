"""The job's own inference: what it asks its executors, without the tables around it."""

from collections.abc import Iterator
from contextlib import contextmanager

from enrich.spark.inference.staging import choose_tasks
from enrich.spark.inference.udf import Loads, answers_schema, build_answers
from pyspark.sql import functions as F

from bench.setup import Setup
from bench.spark_session import open_spark, run_all
from bench.stage import Stage


@contextmanager
def open_stages(setup: Setup) -> Iterator[dict[str, Stage]]:
    """Yields the job."""
    with open_spark(setup) as (spark, products):
        spec, config = setup.spec(), setup.config()
        loads = spark.sparkContext.accumulator({}, Loads())
        rows = products.withColumns(
            {"product_category": F.lit(None).cast("string"), "content_hash": F.lit("")}
        )

        def enrich(count: int) -> int:
            tasks = choose_tasks(count, config, setup.tasks)
            asked = rows.limit(count).repartition(tasks)
            run_all(
                asked.mapInPandas(
                    build_answers(spec, loads, config.image_identity), answers_schema(spec)
                )
            )
            return count

        few = setup.tasks * config.batch_size
        yield {"job": Stage(lambda: enrich(setup.products), lambda: enrich(few))}
