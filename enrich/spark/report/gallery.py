"""Chooses the products that a run's page shows: few, and the same ones every time.

Titles and image paths are in the product table only; they are looked up for the chosen products.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, replace

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F
from schemas.labels import ABSTAINED

from enrich.images.locations import LONGEST_PATH
from enrich.records import Candidate, Status
from enrich.report.content import Card, Gallery, ShownAnswer
from enrich.spark.survey import INPUT_FIELDS, select_kept

CARDS_A_SHELF = 18
# Candidates for a shelf, of each attribute, label, status or reason; it takes the first of each in
# turn.
_CARDS_A_PART = 6
# A longer text is not for reading.
_LONGEST_TEXT = 500


def choose_gallery(rows: DataFrame, quarantine: DataFrame) -> Gallery:
    """Chooses products of a run; of those outside quarantine, texts are not known yet.

    Runs on the driver; one action.

    Args:
        rows: What `select_run_rows` returns.
        quarantine: What the run put into quarantine.
    """
    placed = _place(rows).unionByName(_place_quarantined(quarantine), allowMissingColumns=True)
    # A rank with a limit: Spark keeps no more than that of each part before it moves any row.
    order = Window.partitionBy("shelf", "part").orderBy("rank", "product_id")
    chosen = placed.withColumn("place", F.row_number().over(order))
    candidates = chosen.where(F.col("place") <= _CARDS_A_PART).collect()
    return Gallery(**{field.name: _fill(field.name, candidates) for field in fields(Gallery)})


def with_texts(gallery: Gallery, products: DataFrame) -> Gallery:
    """Returns the gallery with what the product table says of its products.

    Runs on the driver; one action at most. Of rows with one id the one counts that a run enriches.
    """
    shelves = {name: getattr(gallery, name) for name in ("changed", "unsure", "sure", "failed")}
    ids = {card.product_id for cards in shelves.values() for card in cards}
    if not ids:
        return gallery
    wanted = products.where(F.col("product_id").isin(*ids))
    title = F.substring("title", 1, _LONGEST_TEXT).alias("title")
    kept = select_kept(wanted).select("product_id", title, "image_path")
    texts = {row["product_id"]: row.asDict() for row in kept.collect()}
    with_text = {
        name: tuple(replace(card, **texts.get(card.product_id, {})) for card in cards)
        for name, cards in shelves.items()
    }
    return replace(gallery, **with_text)


def _place(rows: DataFrame) -> DataFrame:
    """Returns the products, one row for every shelf and part of it where they may be shown."""
    error = F.substring("error", 1, _LONGEST_TEXT).alias("error")
    columns = ("product_id", "product_category", "status", "modalities", error, "answers")
    return rows.withColumn("place", F.explode(F.concat(*_shelves()))).select("place.*", *columns)


def _place_quarantined(quarantine: DataFrame) -> DataFrame:
    return quarantine.select(
        F.lit("quarantined").alias("shelf"),
        F.col("reason").alias("part"),
        F.xxhash64("product_id", *INPUT_FIELDS).cast("double").alias("rank"),
        "product_id",
        F.col("reason").alias("status"),
        F.substring("error", 1, _LONGEST_TEXT).alias("error"),
        # At full length: the page first hides what is secret in an address, and then cuts it.
        *(F.substring(c, 1, LONGEST_PATH).alias(c) for c in ("title", "image_path")),
    )


def _shelves() -> Iterator[Column]:
    """Yields where in the gallery a row stands, as arrays."""
    blind = F.xxhash64("product_id")  # an order that has nothing to do with what products are
    changed = F.filter("answers", lambda answer: answer["old"] != answer["label"])
    yield F.transform(changed, lambda answer: _shelf("changed", answer["attribute"], blind))
    uncorrected = F.filter("answers", lambda answer: ~answer["is_corrected"])
    yield F.transform(
        uncorrected, lambda answer: _shelf("unsure", answer["attribute"], answer["confidence"])
    )
    first = F.get("answers", F.lit(0))["label"]
    is_whole = F.forall("answers", lambda answer: answer["label"] != ABSTAINED) & first.isNotNull()
    yield _if(is_whole, _shelf("sure", first, blind))
    yield _if(F.col("status") != Status.OK, _shelf("failed", F.col("status"), blind))


def _if(condition: Column, shelf: Column) -> Column:
    return F.array_compact(F.array(F.when(condition, shelf)))


def _shelf(name: str, part: Column, rank: Column) -> Column:
    return F.struct(
        F.lit(name).alias("shelf"), part.alias("part"), rank.cast("double").alias("rank")
    )


def _fill(shelf: str, chosen: list[Row]) -> tuple[Card, ...]:
    rows = [row for row in chosen if row["shelf"] == shelf]
    in_turn = sorted(rows, key=lambda row: (row["place"], row["part"]))[:CARDS_A_SHELF]
    return tuple(map(_card, sorted(in_turn, key=lambda row: (row["part"], row["place"]))))


def _card(row: Row) -> Card:
    return Card(
        product_id=row["product_id"],
        status=row["status"],
        answers=tuple(map(_answer, row["answers"] or ())),
        title=row["title"],
        image_path=row["image_path"],
        category=row["product_category"],
        modalities=row["modalities"],
        error=row["error"],
        about=row["part"] if row["shelf"] in ("changed", "unsure") else None,
    )


def _answer(answer: Row) -> ShownAnswer:
    return ShownAnswer(
        attribute=answer["attribute"],
        label=answer["label"],
        candidates=tuple(map(_candidate, answer["candidates"])),
        is_corrected=answer["is_corrected"],
        old=answer["old"],
    )


def _candidate(candidate: Row) -> Candidate:
    confidence = candidate["confidence"]
    return Candidate(candidate["label"], math.nan if confidence is None else confidence)
