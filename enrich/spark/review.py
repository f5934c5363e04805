"""Questions of a review page, from the output tables and the product table.

Those of an audit are drawn by `enrich.spark.audit`.
"""

import math
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.labels import NOT_APPLICABLE, UNSURE

from enrich.calibration import Thresholds
from enrich.lexicon import Evidence
from enrich.records import Candidate
from enrich.report.review import Question
from enrich.spark.corrections import AttributeLabels, select_last_spelled
from enrich.spark.diff import read_texts
from enrich.spark.report import LONGEST_TEXT, confidence_in
from enrich.spark.tables import Tables


@dataclass(frozen=True, slots=True)
class Wanted:
    """Request of a page: `aim` is one of AIMS, `attribute` None for all of them.

    `run_id` names the run whose candidates count, None for the published answers.
    """

    aim: str
    number: int
    attribute: str | None = None
    run_id: str | None = None


def read_questions(
    tables: Tables,
    products: DataFrame,
    wanted: Wanted,
    attribute_labels: AttributeLabels,
    thresholds: Thresholds,
) -> list[Question]:
    """Return questions about answers that nobody has corrected, grouped by attribute.

    Two actions at most.

    Args:
        products: the product table, which has titles and pictures.

    Raises:
        ConfigError: The database has no such table.
    """
    name = "candidates" if wanted.run_id else "product_attributes"
    tables.require(name)
    rows = tables.read_run(name, wanted.run_id) if wanted.run_id else tables.read(name)
    asked = [wanted.attribute] if wanted.attribute else list(attribute_labels)
    labelled = select_last_spelled(tables.read("attribute_corrections"), attribute_labels)
    predictions = (
        rows.select("product_id", "modalities", F.explode("predictions").alias("prediction"))
        .select("product_id", "modalities", "prediction.*")
        .where(F.col("attribute").isin(*asked))
        .join(labelled.select("product_id", "attribute"), ["product_id", "attribute"], "left_anti")
        .withColumn("threshold", _threshold(thresholds, attribute_labels))
    )
    answers = select_first(predictions, wanted.aim, wanted.number).collect()
    order = {one: place for place, one in enumerate(dict.fromkeys(a["attribute"] for a in answers))}
    texts = read_texts(products, {one["product_id"] for one in answers}, LONGEST_TEXT)
    return [
        Question(
            one["product_id"],
            one["attribute"],
            candidates=(
                Candidate(one["label"], one["confidence"]),
                *(Candidate(*other) for other in one["alternatives"]),
            ),
            abstained=one["abstained"],
            **texts.get(one["product_id"], {"title": None, "image_path": None}),
        )
        for one in sorted(answers, key=lambda answer: order[answer["attribute"]])
    ]


def select_first(predictions: DataFrame, aim: str, number: int) -> DataFrame:
    """Return the `number` predictions that tell most, in order; lazy.

    - `unsure`: what the classifier withheld, nearest to the threshold first. In an unseen source
      real thresholds are higher than those here: confidences far above one are of an attribute
      that is not answered there.
    - `contradictions`: titles that name another label, the least likely first.
    - `attribute`: small differences to the next best label first, alternately from each label,
      where the attribute applies.

    Args:
        predictions: fields of `predictions`, product_id, and `threshold`, inf for never.
        aim: one of AIMS.
        number: rows to return at most.
    """
    next_best = F.coalesce(F.get("alternatives", F.lit(0))["confidence"], F.lit(0.0))
    order = {
        "unsure": F.abs(F.col("threshold") - F.col("confidence")),
        "contradictions": confidence_in(F.col("named"), F.col("alternatives"))
        / F.col("confidence"),
        "attribute": F.col("confidence") - next_best,
    }[aim]
    if aim == "unsure":
        predictions = predictions.where(F.col("abstention") == UNSURE)
    if aim == "attribute":
        is_not_applicable = F.col("abstention") == NOT_APPLICABLE
        predictions = predictions.where(~F.coalesce(is_not_applicable, F.lit(False)))
    if aim == "contradictions":
        is_label = F.coalesce("abstention", F.lit(UNSURE)) == UNSURE
        predictions = predictions.where(is_label & F.expr("named <> label"))
    of_label = Window.partitionBy("attribute", "label").orderBy(order, "product_id")
    turn = F.row_number().over(of_label) if aim == "attribute" else F.lit(0)
    ranked = predictions.withColumns({"turn": turn, "order": order})
    return ranked.orderBy("turn", "order", F.desc("confidence"), "product_id", "attribute").limit(
        number
    )


def _threshold(thresholds: Thresholds, attribute_labels: AttributeLabels) -> Column:
    """Return the threshold of an answer; inf if it is never given.

    For sorting only: a title that names several labels counts as one that names none, and the
    source's profile is ignored.
    """
    by_evidence, by_label = {}, {}
    for attribute, by_modalities in thresholds.items():
        for modalities, least in by_modalities.items():
            for evidence, at in least.by_evidence.items():
                by_evidence[f"{attribute} {modalities} {evidence}"] = at
            # Kinds of NULL come after the labels; there are no questions about them.
            for label, at in zip(attribute_labels[attribute], least.by_label, strict=False):
                by_label[f"{attribute} {modalities} {label}"] = at
    evidence_column = (
        F.when(F.col("named").isNull(), Evidence.SILENT)
        .when(F.col("named") == F.col("label"), Evidence.NAMED)
        .otherwise(Evidence.CONTRADICTED)
    )
    return F.greatest(
        _find_threshold(by_evidence, evidence_column), _find_threshold(by_label, F.col("label"))
    )


def _find_threshold(known: dict[str, float], last: Column) -> Column:
    pairs = [F.lit(word) for pair in known.items() for word in pair]
    name = F.concat_ws(" ", F.col("attribute"), F.col("modalities"), last)
    return F.coalesce(F.try_element_at(F.create_map(*pairs), name), F.lit(math.inf))
