"""From a classifier's output to predictions: calibrated, thresholded, in plain Python.

Knows nothing of how batches are made and computed.
"""

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from enrich.calibration import Calibration, Thresholds
from enrich.classifiers.calibrated import apply_layer, at_temperatures, join_embeds, to_layer
from enrich.classifiers.interface import ModelOutput
from enrich.records import Candidate, Modalities, Prediction

ALTERNATIVES = 3


class Predictor:
    """Turns outputs of one classifier into predictions.

    `attributes` maps each attribute to its labels in the order of the logits; an attribute is
    abstained on below its threshold.
    """

    def __init__(
        self,
        attributes: dict[str, tuple[str, ...]],
        calibration: Calibration,
        thresholds: Thresholds,
    ) -> None:
        self._attributes = attributes
        self._calibration = calibration
        self._corrections = {a: to_layer(one) for a, one in calibration.corrections.items()}
        self._thresholds = thresholds

    def predict(
        self, output: ModelOutput, modalities: Sequence[Modalities]
    ) -> Iterator[tuple[Prediction, ...]]:
        """Returns each row's predictions, one an attribute; rows have `modalities`."""
        columns = [
            self._predict_attribute(
                attribute, probs, output.image_weight.get(attribute), modalities
            )
            for attribute, probs in self.probabilities(output, modalities).items()
        ]
        return zip(*columns, strict=True)

    def probabilities(
        self, output: ModelOutput, modalities: Sequence[Modalities]
    ) -> dict[str, Float[Tensor, "B _"]]:
        """Returns calibrated probabilities per attribute, on the CPU; rows have `modalities`."""
        embeds = join_embeds(output, modalities)
        return {
            attribute: at_temperatures(
                apply_layer(logits.float().cpu(), embeds, self._corrections.get(attribute)),
                [self._calibration.attributes[attribute][found] for found in modalities],
                output.image_weight.get(attribute),
            )
            for attribute, logits in output.logits.items()
        }

    def _predict_attribute(
        self,
        attribute: str,
        probs: Float[Tensor, "B C"],
        image_weight: Float[Tensor, " B"] | None,
        modalities: Sequence[Modalities],
    ) -> list[Prediction]:
        """Returns one attribute's predictions for a batch."""
        labels = self._attributes[attribute]
        best = probs.topk(min(1 + ALTERNATIVES, len(labels)), dim=1)
        image_weights: list[float | None] = [None] * len(modalities)
        if image_weight is not None:
            image_weights = image_weight.tolist()
        thresholds = self._thresholds[attribute]
        predictions = []
        for row, (confidences, places) in enumerate(
            zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            candidates = [
                Candidate(labels[place], confidence)
                for place, confidence in zip(places, confidences, strict=True)
            ]
            first = candidates[0]
            predictions.append(
                Prediction(
                    attribute=attribute,
                    label=first.label,
                    confidence=first.confidence,
                    # Not `<`: a confidence that is NaN is below no threshold, and no answer either.
                    abstained=not first.confidence >= thresholds[modalities[row]],
                    image_weight=image_weights[row],
                    alternatives=tuple(candidates[1:]),
                )
            )
        return predictions
