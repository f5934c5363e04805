"""An answer as the columns of `product_attributes`, one plain row a product.

The Spark job and `jobs/classify_table.py` write the same columns through this function.
"""

from collections.abc import Iterable
from typing import Any

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
        answered = prediction is not None and not prediction.abstained
        row[attribute] = prediction.label if prediction and answered else None
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
