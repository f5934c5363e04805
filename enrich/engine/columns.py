"""Answers as columns of `product_attributes`, without a Python object per row."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from schemas.labels import ABSTENTIONS

from enrich.records import Candidate, EncodedProduct, EnrichedProduct, Prediction

if TYPE_CHECKING:
    from enrich.engine.answerer import Answerer

_CANDIDATE = pa.struct([("label", pa.string()), ("confidence", pa.float64())])
_PREDICTION = pa.struct(
    [
        ("attribute", pa.string()),
        ("label", pa.string()),
        ("confidence", pa.float64()),
        ("abstained", pa.bool_()),
        ("image_weight", pa.float64()),
        ("alternatives", pa.list_(_CANDIDATE)),
        ("named", pa.string()),
        ("abstention", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class AttributeAnswers:
    """The best K candidates for one attribute of N products, best first.

    `places` (N, K) are the candidates' indices in `labels`, `confidences` (N, K) their calibrated
    probabilities in [0, 1]. `abstention` (N,) is why the first one is not given as the answer, as a
    place in `schemas.labels.ABSTENTIONS`, -1 where it is given. `image_weight` (N,) is the image's
    share in the answer, in [0, 1]; None where a classifier does not weigh its modalities. `named`
    (N,) is the place of the one label that the title names, -1 where it names none or several; None
    where nobody looked.
    """

    attribute: str
    labels: tuple[str, ...]
    places: np.ndarray
    confidences: np.ndarray
    abstention: np.ndarray
    image_weight: np.ndarray | None = None
    named: np.ndarray | None = None


def answer_fields(attributes: Iterable[str]) -> list[pa.Field]:
    """Return label and confidence of each attribute, then `predictions`."""
    labels = (
        (pa.field(attribute, pa.string()), pa.field(f"{attribute}_confidence", pa.float64()))
        for attribute in attributes
    )
    return [*itertools.chain(*labels), pa.field("predictions", pa.list_(_PREDICTION))]


def arrow_schema(attributes: Iterable[str]) -> pa.Schema:
    """Return the schema of answers with modalities, status and model version."""
    read = ("modalities", "status", "error", "model_version")
    return pa.schema(
        [
            pa.field("product_id", pa.string()),
            *answer_fields(attributes),
            *(pa.field(name, pa.string()) for name in read),
        ]
    )


def to_record_batch(answers: Sequence[AttributeAnswers]) -> pa.RecordBatch:
    """Return the columns of `answer_fields`, one row per product.

    A label is null where the classifier abstained. There is at least one attribute, and all
    have the same number of products.
    """
    columns: list[pa.Array] = []
    for one in answers:
        best = pa.array(one.places[:, 0], mask=one.abstention >= 0)
        columns += [pa.array(one.labels, pa.string()).take(best), pa.array(one.confidences[:, 0])]
    fields = answer_fields(one.attribute for one in answers)
    return pa.RecordBatch.from_arrays([*columns, _predictions(answers)], schema=pa.schema(fields))


def _predictions(answers: Sequence[AttributeAnswers]) -> pa.Array:
    """Return each product's list of predictions, one an attribute."""
    rows, width = len(answers[0].abstention), len(answers)
    starts = np.cumsum([0, *(len(one.labels) for one in answers)])
    labels = pa.array([label for one in answers for label in one.labels], pa.string())
    # Row by row, and in a row attribute by attribute, as the lists hold them.
    places = [one.places + start for one, start in zip(answers, starts, strict=False)]

    def pick(ranks: slice) -> pa.StructArray:
        at = np.concatenate([one[:, ranks] for one in places], axis=1).ravel()
        sure = np.concatenate([one.confidences[:, ranks] for one in answers], axis=1).ravel()
        columns = [labels.take(pa.array(at)), pa.array(sure, pa.float64())]
        return pa.StructArray.from_arrays(columns, fields=list(_CANDIDATE))

    names = pa.array([one.attribute for one in answers], pa.string())
    weights = np.full((rows, width), np.nan)
    for place, one in enumerate(answers):
        if one.image_weight is not None:
            weights[:, place] = one.image_weight
    weighs_none = np.tile([one.image_weight is None for one in answers], rows)
    reasons = np.stack([one.abstention for one in answers], axis=1).ravel()
    first, behind = pick(slice(0, 1)), [one.places.shape[1] - 1 for one in answers]
    values = pa.StructArray.from_arrays(
        [
            names.take(pa.array(np.tile(np.arange(width), rows))),
            first.field("label"),
            first.field("confidence"),
            pa.array(reasons >= 0),
            pa.array(weights.ravel(), mask=weighs_none),
            _lists(np.tile(behind, rows), pick(slice(1, None))),
            _named(answers, labels, starts),
            pa.array(ABSTENTIONS).take(pa.array(reasons, mask=reasons < 0)),
        ],
        fields=list(_PREDICTION),
    )
    return _lists(np.full(rows, width), values)


def _named(answers: Sequence[AttributeAnswers], labels: pa.Array, starts: np.ndarray) -> pa.Array:
    """Return the label that each product's title names for each attribute, or null."""
    nobody = np.full(len(answers[0].abstention), -1)
    places = np.stack([nobody if one.named is None else one.named for one in answers], axis=1)
    return labels.take(pa.array((places + starts[:-1]).ravel(), mask=(places < 0).ravel()))


def _lists(lengths: np.ndarray, values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def answer_encoded(
    encoded: Sequence[EncodedProduct],
    answerer: "Answerer",
    attributes: Iterable[str],
    categories: Mapping[str, str] | None = None,
) -> pa.RecordBatch:
    """Return the columns of `answer_fields`, a row a product.

    Where nothing could be read, labels and confidences are null and there are no predictions.
    `categories` are those of products, by id.
    """
    known = {} if categories is None else categories
    readable = [one for one in encoded if one.vectors is not None and one.modalities is not None]
    schema = pa.schema(answer_fields(attributes))
    answers = pa.RecordBatch.from_pylist([], schema=schema)
    if readable:
        answers = answerer.answer(
            [one.vectors for one in readable if one.vectors is not None],
            [one.modalities for one in readable if one.modalities is not None],
            [one.wording for one in readable],
            [known.get(one.product_id) for one in readable],
        )
    if len(readable) == len(encoded):
        return answers
    is_read = np.array([one.modalities is not None for one in encoded])
    at = pa.array(np.cumsum(is_read) - 1, mask=~is_read)
    *labels, predictions = answers.columns
    width = len(labels) // 2
    spread = _lists(is_read * width, predictions.flatten())
    return pa.RecordBatch.from_arrays([*(one.take(at) for one in labels), spread], schema=schema)


def to_table(
    encoded: Sequence[EncodedProduct],
    answerer: "Answerer",
    attributes: Iterable[str],
    model_version: str,
    categories: Mapping[str, str] | None = None,
) -> pa.RecordBatch:
    """Return the rows of `arrow_schema`, one a product, in order."""
    attributes = tuple(attributes)

    def column(values: Iterable[str | None]) -> pa.Array:
        return pa.array([None if one is None else str(one) for one in values], pa.string())

    return pa.RecordBatch.from_arrays(
        [
            column(one.product_id for one in encoded),
            *answer_encoded(encoded, answerer, attributes, categories).columns,
            column(one.modalities for one in encoded),
            column(one.status for one in encoded),
            column(one.error for one in encoded),
            column(model_version for _ in encoded),
        ],
        schema=arrow_schema(attributes),
    )


def to_enriched(
    encoded: Sequence[EncodedProduct], answerer: "Answerer", attributes: Iterable[str]
) -> list[EnrichedProduct]:
    """Return the answers as Python objects, for callers of a few products."""
    answers = answer_encoded(encoded, answerer, attributes).column("predictions").to_pylist()
    return [
        EnrichedProduct(
            one.product_id,
            one.status,
            one.modalities,
            tuple(map(_to_prediction, predictions)),
            one.error,
            one.image_digest,
        )
        for one, predictions in zip(encoded, answers, strict=True)
    ]


def _to_prediction(struct: dict[str, Any]) -> Prediction:
    alternatives = tuple(Candidate(**one) for one in struct["alternatives"])
    return Prediction(**struct | {"alternatives": alternatives})
