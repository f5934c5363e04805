"""What a run stages: new answers of the classifier, and published ones that are carried over."""

import math
from collections.abc import Sequence

from pyspark import Accumulator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.spark.corrections import with_own_labels
from enrich.spark.survey import INPUT_FIELDS, State, Survey
from enrich.spark.udf import build_answer_udf
from enrich.spec import BuildsEngine

_KEY = ("product_id", "product_category", "content_hash")
_LINEAGE = ("model_version", "run_id", "run_date", "enriched_at")


def select_answers(
    survey: Survey, spec: BuildsEngine, loads: Accumulator[dict[str, int]], tasks: int
) -> DataFrame:
    """Returns the classifier's answers to the pending products, without lineage.

    Runs on the driver; lazy.
    """
    answer = build_answer_udf(spec, loads)
    return (
        survey.pending.repartition(tasks)
        .withColumn("answer", answer("product_id", *INPUT_FIELDS))
        .select(*_KEY, "answer.*")
    )


def select_carried(survey: Survey, published: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """Returns the published answers of revised products as they were staged, without lineage.

    Runs on the driver; lazy.
    """
    answers = with_own_labels(published, attributes)
    answers = answers.drop("product_category", "content_hash", "corrections", *_LINEAGE)
    none = F.lit(None).cast("string")
    return survey.revised.select(*_KEY).join(answers, "product_id").withColumn("error", none)


def select_staged(
    survey: Survey,
    published: DataFrame,
    spec: BuildsEngine,
    loads: Accumulator[dict[str, int]],
    config: JobConfig,
) -> DataFrame:
    """Returns all that a run stages, without lineage.

    Runs on the driver; lazy.

    Args:
        published: The published table as it is before this run.
        loads: Counts the engines that the workers load.
    """
    cores = published.sparkSession.sparkContext.defaultParallelism
    pending, revised = survey.counts[State.PENDING], survey.counts[State.REVISED]
    answers = select_answers(survey, spec, loads, choose_tasks(pending, config, cores))
    if not revised:
        return answers
    carried = select_carried(survey, published, tuple(spec.attributes))
    # Columns of attributes that this checkpoint does not have are left behind.
    carried = carried.select(answers.columns)
    return answers.unionByName(carried) if pending else carried


def choose_tasks(products: int, config: JobConfig, cores: int) -> int:
    """Returns the task count: from the work, not from the product table's file layout."""
    enough_for_a_task = config.batch_size
    return max(
        1,
        math.ceil(products / config.products_per_task),
        min(cores, math.ceil(products / enough_for_a_task)),
    )


def lineage(*values: Column) -> list[Column]:
    """Returns model_version, run_id, run_date and enriched_at under their names."""
    return [value.alias(name) for value, name in zip(values, _LINEAGE, strict=True)]
