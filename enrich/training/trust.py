"""Fits how far CMA-CLIP trusts pictures and texts, on products that training did not see.

A tower reads the pictures that it was trained on better than any others: 0.88 of the colors right
against 0.74 of those of held-back groups, where this was measured (DECISIONS.md). An attention over
modalities that is trained on the same products trusts it accordingly, and too much. As in stacked
generalisation (Wolpert 1992), what weighs two readers must be fitted to what neither has seen; here
that is one number an attribute, and another one for what becomes of an answer where they disagree.
"""

from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.interface import Classifier, Read
from enrich.training.batches import Batches, Condition
from enrich.training.calibration import Scored, fit_temperatures, surprise
from enrich.training.evaluation import ask
from enrich.training.labelled import UNLABELLED

_TRIED = np.linspace(-4, 4, 65).tolist()
_DOUBTS = np.linspace(0, 1, 17).tolist()


def fit_trust(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    shares: Mapping[Condition, float],
) -> None:
    """Shifts the trust of each attribute to that of least negative log-likelihood.

    Args:
        classifier: Left as it is if it has no modality-wise attention, or there are no conditions.
        batches: The products.
        rows: Those to fit to.
        shares: The conditions, and what a row of each counts.
    """
    if not _weighs(classifier) or not shares:
        return
    targets = torch.from_numpy(batches.products.targets[rows]).to(classifier.device)
    read = {c: _read(classifier, batches, rows, c) for c in shares}
    for column, attribute in enumerate(classifier.config.attributes):
        labelled = targets[:, column] != UNLABELLED
        if labelled.any():
            losses = {
                shift: sum(
                    share * _loss(classifier, attribute, read[c], targets[:, column], shift)
                    for c, share in shares.items()
                )
                for shift in _TRIED
            }
            classifier.shift_trust(attribute, min(losses, key=losses.__getitem__))


def fit_doubt(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    shares: Mapping[Condition, float],
) -> None:
    """Sets the doubt of each attribute to that of least negative log-likelihood.

    Each is tried with temperatures that are fitted to it. Takes what `fit_trust` takes, and is to
    go after it.
    """
    if not _weighs(classifier) or not shares:
        return
    targets = torch.from_numpy(batches.products.targets[rows])
    read = {c: _read(classifier, batches, rows, c) for c in shares}
    for column, attribute in enumerate(classifier.config.attributes):
        losses = {}
        for doubt in _DOUBTS:
            classifier.set_doubt(attribute, doubt)
            scored = [
                _score(classifier, attribute, read[c], targets[:, column], share)
                for c, share in shares.items()
            ]
            losses[doubt] = surprise(scored, *fit_temperatures(scored))
        classifier.set_doubt(attribute, min(losses, key=losses.__getitem__))


def _weighs(classifier: Classifier) -> TypeGuard[CmaClip]:
    return isinstance(classifier, CmaClip) and classifier.config.modality_wise


def _score(
    classifier: CmaClip, attribute: str, read: Read, targets: Tensor, share: float
) -> Scored:
    """Returns the labelled rows, to fit temperatures to."""
    with torch.inference_mode():
        logits, image_weight = classifier.answer(attribute, read)
    assert image_weight is not None
    labelled = targets != UNLABELLED
    return Scored(
        logits.cpu()[labelled], targets[labelled], image_weight.float().cpu()[labelled], share
    )


def _read(classifier: CmaClip, batches: Batches, rows: np.ndarray, condition: Condition) -> Read:
    parts = [output.read for _, output in ask(classifier, batches, rows, condition) if output.read]
    return Read.combine(parts, torch.cat).in_full_precision()


def _loss(classifier: CmaClip, attribute: str, read: Read, targets: Tensor, shift: float) -> float:
    with torch.inference_mode():
        logits, _ = classifier.answer(attribute, read, shift)
    return F.cross_entropy(logits, targets, ignore_index=UNLABELLED).item()
