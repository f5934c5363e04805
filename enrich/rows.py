"""An answer as the columns of `product_attributes`, one plain row a product.

Whoever writes answers writes them through `to_row`, so that all have the same columns.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from enrich.records import EnrichedProduct, Prediction


def to_row(answer: EnrichedProduct, attributes: Iterable[str]) -> dict[str, Any]:
    """Returns the answer's columns; a label is None where the classifier abstained.

    Without a prediction (nothing could be read of the product) every attribute is None.
    """
    by_attribute = {prediction.attribute: prediction for prediction in answer.predictions}
    row: dict[str, Any] = {
        "status": str(answer.status),
        "modalities": None if answer.modalities is None else str(answer.modalities),
        "error": answer.error,
    }
    for attribute in attributes:
        prediction = by_attribute.get(attribute)
        row[attribute] = prediction.label if prediction and not prediction.abstained else None
        row[f"{attribute}_confidence"] = prediction.confidence if prediction else None
    row["predictions"] = [_to_struct(prediction) for prediction in answer.predictions]
    return row


def _to_struct(prediction: Prediction) -> dict[str, Any]:
    return {
        "attribute": prediction.attribute,
        "label": prediction.label,
        "confidence": prediction.confidence,
        "abstained": prediction.abstained,
        "image_weight": prediction.image_weight,
        "alternatives": [
            {"label": candidate.label, "confidence": candidate.confidence}
            for candidate in prediction.alternatives
        ],
    }


def arrow_schema(attributes: Iterable[str]) -> pa.Schema:
    """Returns the Arrow schema of rows with product_id and model_version around `to_row`."""
    candidate = pa.struct([("label", pa.string()), ("confidence", pa.float64())])
    prediction = pa.struct(
        [
            ("attribute", pa.string()),
            ("label", pa.string()),
            ("confidence", pa.float64()),
            ("abstained", pa.bool_()),
            ("image_weight", pa.float64()),
            ("alternatives", pa.list_(candidate)),
        ]
    )
    labels = [
        field
        for attribute in attributes
        for field in ((attribute, pa.string()), (f"{attribute}_confidence", pa.float64()))
    ]
    return pa.schema(
        [
            ("product_id", pa.string()),
            *labels,
            ("predictions", pa.list_(prediction)),
            ("modalities", pa.string()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("model_version", pa.string()),
        ]
    )
