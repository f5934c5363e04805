"""Answer due products from their encodings, and write the run's candidates once.

Opens no picture and loads no tower: heads, calibration and thresholds read the stored vectors.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.tables import (
    BROKEN,
    IMAGE_PROBLEMS,
    TO_ANSWER,
    Op,
    Outcome,
    Reason,
    Status,
    answer_columns,
    quote_part,
)

from enrich.config import JobConfig, is_too_much
from enrich.engine.spec import EngineSpec
from enrich.errors import tell_apart
from enrich.images.settings import NO_IMAGE_PATH
from enrich.spark.corrections import classifier_label, find_entry, is_inapplicable
from enrich.spark.diff import INPUT_FIELDS, Diff
from enrich.spark.rules import Run, checkpoint_of, row_holds
from enrich.spark.tables import Tables, Transaction, now, published_attributes, schema_of

# Columns that a candidate takes from its product and the encoding.
_CARRIED = (
    "product_id STRING, op STRING, reason STRING, replaces STRING, product_category STRING, "
    "content_hash STRING, modalities STRING, status STRING, error STRING"
)
_NAMES = [column.split()[0] for column in _CARRIED.split(", ")]
_TEXTS = ("title", "description")
# This Python worker's answerer, and its recipe.
_answerer: Any = None
_recipe: EngineSpec | None = None


class AnswerCounts(NamedTuple):
    """Counts of a run's candidates: products, and distinct contents.

    `contents` are those of new and changed products, which no accepted run has accounted for. Of
    these, `unreadable` hold neither image nor text to answer from, and `with_image` name an image;
    `failed_images` of the images could not be read. `abstained` and `not_applicable` count answers
    without a label by attribute.
    """

    answered: int
    unanswered: int
    abstained: dict[str, int]
    not_applicable: dict[str, int]
    contents: int
    unreadable: int
    with_image: int
    failed_images: int


def write_candidates(
    tables: Tables,
    header: Run,
    spec: EngineSpec,
    diff: Diff,
    encodings: DataFrame | None,
    *,
    deletes: bool,
) -> None:
    """Write a run's candidates in one commit; candidates are never updated.

    Args:
        header: the run.
        spec: the recipe of the answerer.
        diff: over saved rows.
        encodings: those that hold, of this run's encoder; None if no product needs an answer.
        deletes: rows of missing products are to be deleted.
    """
    parts = []
    if encodings is not None:
        due = diff.select(*TO_ANSWER)
        encoded = join_encodings(due, encodings, with_descriptions=spec.reads_descriptions)
        parts.append(_answer_rows(encoded.where(F.col("modalities").isNotNull()), spec))
    if diff.count(Outcome.REVISED):
        revised = diff.select(Outcome.REVISED)
        parts.append(_revise(tables.read("product_attributes"), revised, tables.attributes))
    if deletes and diff.count(Outcome.MISSING):
        parts.append(_delete(diff.select(Outcome.MISSING)))
    if not parts:
        return
    rows = parts[0]
    for part in parts[1:]:
        rows = rows.unionByName(part, allowMissingColumns=True)
    lineage = {
        "run_id": header.run_id,
        "run_date": header.run_date,
        "enriched_at": header.started_at,
    }
    rows = rows.withColumns({name: F.lit(value) for name, value in lineage.items()})
    schema = schema_of("candidates", tables.attributes)
    lacking = [field for field in schema if field.name not in rows.columns]
    rows = rows.withColumns({f.name: F.lit(None).cast(f.dataType) for f in lacking})
    version = F.coalesce("model_version", F.when(F.col("op") == Op.UPSERT, header.model_version))
    rows = rows.withColumn("model_version", version)
    columns = map(quote_part, schema.fieldNames())
    transaction = Transaction(header.run_id, 1)
    tables.append("candidates", rows.select(*columns), header.run_id, transaction)


def join_encodings(
    due: DataFrame, encodings: DataFrame, *, with_descriptions: bool = False
) -> DataFrame:
    """Return due products with the latest encoding of their content; lazy.

    Two runs at once may have encoded the same content: the latest counts. Descriptions are NULL
    where no label is searched in them.
    """
    latest = Window.partitionBy("content_hash").orderBy(F.desc("encoded_at"), F.desc("run_id"))
    # Before the window, which sorts all its rows: a night of few changes needs few encodings.
    needed = encodings.join(due.select("content_hash"), "content_hash", "left_semi")
    one = needed.withColumn("_place", F.row_number().over(latest)).where("_place = 1")
    one = one.select("content_hash", "status", "modalities", "error", "vectors")
    # See `enrich.lexicon.choose_title`.
    is_read = F.lit(with_descriptions) | (F.coalesce("title", F.lit("")) == "")
    description = F.when(is_read, F.col("description")).alias("description")
    columns = ("product_id", "product_category", "replaces", "content_hash", "title", description)
    reason, op = F.col("outcome").alias("reason"), F.lit(Op.UPSERT).alias("op")
    return due.select(*columns, reason, op).join(one, "content_hash")


def count_candidates(
    tables: Tables, run_id: str, diff: Diff, encodings: DataFrame | None
) -> AnswerCounts:
    """Count the run's candidates, and the contents that could not be read.

    One action; two if something could not be read. Otherwise the counts of contents are 0.
    """
    own = tables.read_run("candidates", run_id).where(F.col("op") == Op.UPSERT)
    nothing = {a: F.col(quote_part(a)).isNull() for a in tables.attributes}
    outside = {
        a: is_null & is_inapplicable(find_entry("predictions", a)) for a, is_null in nothing.items()
    }
    row = own.agg(
        F.count("*").alias("answered"),
        F.count_if(F.col("reason") == Outcome.REVISED).alias("revised"),
        F.count_if(_has_failed_image()).alias("failed"),
        *(F.count_if(is_null).alias(f"no {a}") for a, is_null in nothing.items()),
        *(F.count_if(is_outside).alias(f"n/a {a}") for a, is_outside in outside.items()),
    ).collect()[0]
    answered = row["answered"]
    inapplicable = {a: row[f"n/a {a}"] for a in tables.attributes}
    # A product that another run has published meanwhile is not revised, and stays as it is.
    unanswered = diff.count(*TO_ANSWER) - (answered - row["revised"])
    contents = unreadable = with_image = failed = 0
    if encodings is not None and (unanswered or row["failed"]):
        read = join_encodings(diff.select(Outcome.NEW, Outcome.CHANGED), encodings)
        one = read.select("content_hash", "status", "modalities", "error").distinct()
        contents, unreadable, with_image, failed = one.agg(
            F.count("*"),
            F.count_if(F.col("modalities").isNull()),
            F.count_if(_names_image()),
            F.count_if(_has_failed_image()),
        ).collect()[0]
    return AnswerCounts(
        answered,
        unanswered,
        {a: row[f"no {a}"] - count for a, count in inapplicable.items()},
        inapplicable,
        contents,
        unreadable,
        with_image,
        failed,
    )


def explain_unreadable(config: JobConfig, answered: AnswerCounts, tables: Tables) -> Iterator[str]:
    """Yield the limits on unreadable contents and images that are exceeded (R7).

    The shares leave out contents that an accepted run has published or quarantined. So a few images
    that stay unreadable do not block every night, and a blocked night blocks the next one too.
    """
    of, where = answered.contents, tables.name("quarantine")
    if is_too_much(answered.unreadable, of, config.max_quarantined_share):
        share = answered.unreadable / of
        found, most = tell_apart(share, config.max_quarantined_share, ".1%")
        yield (
            f"{found} of {of:,} new or changed contents could not be read, allowed are {most} "
            f"(max_quarantined_share); the reasons are in {where}"
        )
    # Without images, answers would rest on texts alone.
    if is_too_much(answered.failed_images, answered.with_image, config.max_failed_images_share):
        share = answered.failed_images / answered.with_image
        found, most = tell_apart(share, config.max_failed_images_share, ".1%")
        yield (
            f"of {answered.with_image:,} contents that name an image, {found} of the images could "
            f"not be read, allowed are {most} (max_failed_images_share): check the image root, its "
            "store and its permissions"
        )


def explain_lost_labels(tables: Tables, header: Run) -> Iterator[str]:
    """Yield the attributes whose published labels a run's candidates empty.

    They are those of another checkpoint: a run that forgets `--checkpoint` loses them.
    """
    published = published_attributes(tables.spark, tables.database)
    lacking = [attribute for attribute in published if attribute not in tables.attributes]
    if not lacking:
        return
    answers = tables.read_run("candidates", header.run_id).where(F.col("op") == Op.UPSERT)
    rows = tables.read("product_attributes").join(answers, "product_id", "left_semi")
    labels = rows.agg(*(F.count(quote_part(a)).alias(a) for a in lacking)).collect()[0]
    for attribute in lacking:
        if labels[attribute]:
            yield (
                f"{labels[attribute]:,} published labels of {attribute} become NULL, because "
                f"{checkpoint_of(header.model_version)} does not have this attribute. A run with a "
                "checkpoint that has it (--checkpoint) brings them back without reading a picture"
            )


def write_findings(
    tables: Tables,
    header: Run,
    diff: Diff,
    encodings: DataFrame | None,
    limits: str,
    not_accepted: list[str],
) -> None:
    """Append new findings to quarantine: broken rows and unreadable contents.

    Findings of accepted runs are not repeated. At most one commit.

    Args:
        header: the run.
        diff: over saved rows.
        encodings: those that hold; None if no product needed an answer.
        limits: digest of the image limits and allowed roots.
        not_accepted: ids of runs that are not accepted.
    """
    broken = diff.select(*BROKEN).select(
        "product_id",
        F.col("outcome").alias("reason"),
        *(F.lit(None).cast("string").alias(name) for name in ("status", "error")),
        "content_hash",
        *INPUT_FIELDS,
    )
    found = broken
    if encodings is not None:
        inputs = diff.select(*TO_ANSWER).select("product_id", *INPUT_FIELDS)
        read = join_encodings(diff.select(*TO_ANSWER), encodings)
        unread = read.where(F.col("modalities").isNull()).drop(*_TEXTS).join(inputs, "product_id")
        has_crashed = F.col("status") == Status.WORKER_CRASHED
        reason = F.when(has_crashed, Reason.WORKER_CRASHED).otherwise(Reason.NO_MODALITY)
        error = F.concat_ws(": ", "status", "error").alias("error")
        unread = unread.select(
            "product_id", reason.alias("reason"), "status", error, "content_hash", *INPUT_FIELDS
        )
        found = found.unionByName(unread)
    # An expired finding is written again, or its product would be due each night. The finding about
    # a picture that stays unreadable is not.
    is_kept = F.col("status").isNull() | (F.col("status") == Status.IMAGE_UNREADABLE)
    accepted = tables.read("quarantine").where(~F.col("run_id").isin(not_accepted))
    earlier = accepted.where(is_kept | row_holds("found_at", limits, now()))
    names = ("product_id", "content_hash", "reason", "status")
    is_same = [F.col(f"new.{name}").eqNullSafe(F.col(f"old.{name}")) for name in names]
    new = found.alias("new").join(earlier.alias("old"), is_same, "left_anti").persist()
    try:
        if new.isEmpty():
            return
        lineage = {
            "run_id": header.run_id,
            "run_date": header.run_date,
            "found_at": now(),
            "limits": limits,
        }
        columns = (F.lit(value).alias(name) for name, value in lineage.items())
        tables.append("quarantine", new.select("*", *columns), header.run_id)
    finally:
        new.unpersist()


def _answer_rows(encoded: DataFrame, spec: EngineSpec) -> DataFrame:
    schema = f"{_CARRIED}, {answer_columns(spec.attributes)}"
    rows = encoded.select(*_NAMES, "vectors", *_TEXTS)
    return rows.mapInArrow(build_answer(spec), schema)


def build_answer(
    spec: EngineSpec,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that answers encodings on executors, for `mapInArrow`."""

    def answer(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        answerer = _get_answerer(spec)
        for batch in batches:
            if not batch.num_rows:
                continue
            inputs = ("vectors", "modalities", *_TEXTS)
            vectors, modalities, *texts = (batch.column(name).to_pylist() for name in inputs)
            categories = batch.column("product_category").to_pylist()
            text_pairs = [*zip(*texts, strict=True)]
            answers = answerer.answer(vectors, modalities, text_pairs, categories)
            carried = [batch.column(name) for name in _NAMES]
            names = [*_NAMES, *answers.schema.names]
            yield pa.RecordBatch.from_arrays([*carried, *answers.columns], names=names)

    return answer


def _get_answerer(spec: EngineSpec) -> Any:
    """Return this Python worker's answerer. Runs on the executor."""
    from enrich.spark.worker import use_task_cores

    global _answerer, _recipe
    if _recipe != spec:
        use_task_cores()
        _answerer, _recipe = spec.build_answerer(), spec
    return _answerer


def _revise(published: DataFrame, revised: DataFrame, attributes: tuple[str, ...]) -> DataFrame:
    """Return published answers of products whose category or corrections differ."""
    renewed = revised.select(
        "product_id",
        "product_category",
        "replaces",
        F.lit(Op.UPSERT).alias("op"),
        F.col("outcome").alias("reason"),
    )
    own = {a: classifier_label(find_entry("predictions", a)) for a in attributes}
    columns = [c for a in attributes for c in (a, f"{a}_confidence")]
    answers = published.withColumns(own).select(
        "product_id",
        F.col("run_id").alias("_run_id"),
        *("content_hash", "model_version", "modalities", "status", "predictions"),
        *map(quote_part, columns),
    )
    # Only rows that the diff saw: another run may have published since.
    is_seen = F.col("_run_id") == F.col("replaces")
    return renewed.join(answers, "product_id").where(is_seen).drop("_run_id")


def _delete(missing: DataFrame) -> DataFrame:
    return missing.select(
        "product_id",
        "replaces",
        F.lit(Op.DELETE).alias("op"),
        F.col("outcome").alias("reason"),
    )


def _names_image() -> Column:
    return F.coalesce(F.col("error") != NO_IMAGE_PATH, F.lit(True))


def _has_failed_image() -> Column:
    rests_on_image = F.coalesce(F.col("modalities").startswith("image"), F.lit(False))
    return _names_image() & F.col("status").isin(*IMAGE_PROBLEMS) & ~rests_on_image
