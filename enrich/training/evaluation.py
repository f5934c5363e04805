"""Runs a classifier over labelled rows under a condition and measures its answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from enrich.calibration import CalibratedModalities, Calibration
from enrich.classifiers.interface import Classifier
from enrich.precision import autocast
from enrich.records import Modalities
from enrich.training.batches import Batches, Condition
from enrich.training.calibration import fit
from enrich.training.losses import UNLABELLED
from enrich.training.metrics import measure

_BATCH = 256
# The condition under which a set of modalities is calibrated.
_CALIBRATED_UNDER = {
    Modalities.IMAGE_AND_TEXT: Condition.AS_IS,
    Modalities.IMAGE: Condition.NO_TEXT,
    Modalities.TEXT: Condition.NO_IMAGE,
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Logits, targets and image weights of one attribute on its labelled rows.

    `image_weight` is None where the classifier has no modality-wise attention.
    """

    logits: torch.Tensor
    targets: torch.Tensor
    image_weight: torch.Tensor | None


def answer(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    condition: Condition,
    device: torch.device,
) -> dict[str, Answers]:
    """Returns the classifier's answers per attribute, unlabelled rows left out."""
    classifier.eval()
    outputs = []
    for start in range(0, len(rows), _BATCH):
        inputs = batches.evaluation(rows[start : start + _BATCH], condition).to(device)
        with torch.inference_mode(), autocast(device):
            outputs.append(classifier(inputs))
    targets = torch.from_numpy(batches.products.targets[rows])
    answers = {}
    for column, attribute in enumerate(classifier.config.attributes):
        labelled = targets[:, column] != UNLABELLED
        logits = torch.cat([out.logits[attribute].float().cpu() for out in outputs])
        weights = [o.image_weight[:, column] for o in outputs if o.image_weight is not None]
        image_weight = torch.cat(weights).float().cpu()[labelled] if weights else None
        answers[attribute] = Answers(logits[labelled], targets[labelled, column], image_weight)
    return answers


def calibrate(
    classifier: Classifier, batches: Batches, rows: np.ndarray, device: torch.device
) -> Calibration:
    """Fits temperature and thresholds on validation rows for each set of modalities."""
    fitted: dict[str, dict[Modalities, CalibratedModalities]] = {
        attribute: {} for attribute in classifier.config.attributes
    }
    for modalities, condition in _CALIBRATED_UNDER.items():
        for attribute, found in answer(classifier, batches, rows, condition, device).items():
            fitted[attribute][modalities] = fit(found.logits, found.targets)
    return Calibration(attributes=fitted)


def evaluate(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    device: torch.device,
    calibration: Calibration,
    conditions: Sequence[Condition] = tuple(Condition),
) -> dict[str, dict[str, dict[str, float | int]]]:
    """Returns condition -> attribute -> figures, on calibrated probabilities."""
    calibrated_for = {condition: m for m, condition in _CALIBRATED_UNDER.items()}
    figures: dict[str, dict[str, dict[str, float | int]]] = {}
    for condition in conditions:
        modalities = calibrated_for.get(condition, Modalities.IMAGE_AND_TEXT)
        figures[condition] = {}
        for attribute, found in answer(classifier, batches, rows, condition, device).items():
            temperature = calibration.attributes[attribute][modalities].temperature
            measured = measure((found.logits / temperature).softmax(1), found.targets)
            if len(found.targets) and found.image_weight is not None:
                measured["mean_image_weight"] = round(found.image_weight.mean().item(), 3)
            figures[condition][attribute] = measured
    return figures


def selection_score(
    classifier: Classifier, batches: Batches, rows: np.ndarray, device: torch.device
) -> float:
    """Returns what the best epoch is chosen by: mean accuracy with and without the text."""
    accuracies = [
        (found.logits.argmax(1) == found.targets).float().mean().item()
        for condition in (Condition.AS_IS, Condition.NO_TEXT)
        for found in answer(classifier, batches, rows, condition, device).values()
        if len(found.targets)
    ]
    return sum(accuracies) / len(accuracies)
