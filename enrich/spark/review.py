"""The answers that a review page may ask for, from the output tables and the product table.

Of each attribute and label no more rows than a page has reach the driver, where
`enrich.report.review` ranks them.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.labels import LABEL_WORDS

from enrich.calibration import Thresholds
from enrich.records import Candidate
from enrich.report.review import Answer, Question
from enrich.spark.corrections import AttributeLabels, select_last_spelled
from enrich.spark.report import read_texts
from enrich.spark.tables import Tables


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page asks for: `aim` is a key of RANKINGS, `attribute` None for all of them.

    `run_id` names the run whose candidates count, None for the published answers.
    """

    aim: str
    number: int
    attribute: str | None = None
    run_id: str | None = None


def read_answers(
    tables: Tables,
    products: DataFrame,
    wanted: Wanted,
    attribute_labels: AttributeLabels,
    thresholds: Thresholds,
) -> list[Answer]:
    """Return answers that nobody has corrected, so many of each attribute and label.

    Runs on the driver; one action.

    Raises:
        ConfigError: The database has no such table.
    """
    name = "candidates" if wanted.run_id else "product_attributes"
    tables.require(name)
    rows = tables.read_run(name, wanted.run_id) if wanted.run_id else tables.read(name)
    asked = [wanted.attribute] if wanted.attribute else list(attribute_labels)
    labelled = select_last_spelled(tables.read("attribute_corrections"), attribute_labels)
    said = (
        rows.select("product_id", "modalities", F.explode("predictions").alias("said"))
        .select("product_id", "modalities", "said.*")
        .where(F.col("attribute").isin(*asked))
        .join(labelled.select("product_id", "attribute"), ["product_id", "attribute"], "left_anti")
        .withColumn("threshold", _threshold(thresholds))
        # Another sample of each version of the table.
        .withColumn("draw", F.xxhash64("product_id", "attribute", F.lit(str(tables.version(name)))))
        .withColumn("named", F.lit(None).cast("string"))
    )
    if wanted.aim == "contradictions":
        titles = products.where(F.col("product_id").isNotNull()).select("product_id", "title")
        words = {a: _words_of(a, attribute_labels[a]) for a in asked}
        said = said.join(titles.dropDuplicates(["product_id"]), "product_id")
        said = said.withColumn("named", _named_label(words)).where("named != label")
    return [_answer(row.asDict(recursive=True)) for row in _first(said, wanted).collect()]


def _first(said: DataFrame, wanted: Wanted) -> DataFrame:
    """Return the rows of each attribute and label that may be among the first of the ranking."""
    next_best = F.coalesce(F.get("alternatives", F.lit(0))["confidence"], F.lit(0.0))
    order = {
        "audit": F.col("draw"),
        "unsure": F.col("threshold") - F.col("confidence"),
        "contradictions": -F.col("confidence"),
        "attribute": F.col("confidence") - next_best,
    }[wanted.aim]
    if wanted.aim == "unsure":
        said = said.where("abstained")
    best_first = Window.partitionBy("attribute", "label").orderBy(order, "product_id")
    placed = said.withColumn("place", F.row_number().over(best_first))
    return placed.where(F.col("place") <= wanted.number)


def _threshold(thresholds: Thresholds) -> Column:
    """Return the confidence from which on an answer's attribute is answered; inf is never."""
    pairs = [
        F.lit(one)
        for attribute, by_modalities in thresholds.items()
        for modalities, at in by_modalities.items()
        for one in (f"{attribute} {modalities}", float(at))
    ]
    found = F.try_element_at(F.create_map(*pairs), F.concat_ws(" ", "attribute", "modalities"))
    return F.coalesce(found, F.lit(math.inf))


def _words_of(attribute: str, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    known = LABEL_WORDS.get(attribute, {})
    return {label: (label, *known.get(label, ())) for label in labels}


def _named_label(words: Mapping[str, Mapping[str, Iterable[str]]]) -> Column:
    """Return the label of the row's attribute that its title names, NULL for none or several."""
    labels = F.lit(None)
    for attribute, by_label in words.items():
        found = [
            F.when(F.col("title").rlike(_match_words(known)), F.lit(label))
            for label, known in by_label.items()
        ]
        named = F.array_compact(F.array(*found))
        labels = F.when(F.col("attribute") == attribute, named).otherwise(labels)
    return F.when(F.size(labels) == 1, F.get(labels, F.lit(0)))


def _match_words(words: Iterable[str]) -> str:
    """Return a pattern, in Java's dialect, that finds whole words in any case."""
    alternatives = "|".join(re.escape(word) for word in words)
    return rf"(?iU)(?<!\w)(?:{alternatives})(?!\w)"


def _answer(row: dict) -> Answer:
    others = (Candidate(**one) for one in row["alternatives"])
    return Answer(
        row["product_id"],
        row["attribute"],
        (Candidate(row["label"], row["confidence"]), *others),
        row["abstained"],
        row["threshold"],
        row["named"],
        row["draw"],
    )


def ask(answers: Sequence[Answer], products: DataFrame, *, is_blind: bool) -> list[Question]:
    """Return the answers as questions, with titles and pictures of the product table.

    Runs on the driver; at most one action.
    """
    texts = read_texts(products, {one.product_id for one in answers})
    return [
        Question(
            one.product_id,
            one.attribute,
            candidates=() if is_blind else one.candidates,
            abstained=one.abstained,
            **texts.get(one.product_id, {"title": None, "image_path": None}),
        )
        for one in answers
    ]
