"""Fits how far CMA-CLIP trusts pictures and texts, on products that training did not see.

A tower reads the pictures that it was trained on better than any others: 0.88 of the colors right
against 0.74 of those of held-back groups, where this was measured. An attention over modalities
that is trained on the same products trusts it accordingly, and too much. As in stacked
generalisation (Wolpert 1992), what weighs two readers must be fitted to what neither has seen; here
that is one number an attribute, and another one for what becomes of an answer where they disagree.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.interface import Classifier, Vectors
from enrich.training.batches import Batches
from enrich.training.calibration import LabelledLogits, fitted_loss
from enrich.training.conditions import Condition
from enrich.training.evaluation import ask
from enrich.training.labelled import UNLABELLED

# The smallest first, because the first of equals is chosen: where no product has both modalities,
# all of them are equal.
_TRIED = sorted(np.linspace(-4, 4, 65).tolist(), key=abs)
_DOUBTS = np.linspace(0, 1, 17).tolist()


def fit_trust(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    trusted: Mapping[Condition, float],
    calibrated: Mapping[Condition, float],
) -> None:
    """Shifts each attribute's trust to the labels' least loss, and sets its doubt to the answers'.

    Args:
        classifier: Left as it is if it has no modality-wise attention.
        batches: The products.
        rows: Those to fit to.
        trusted: The conditions that trust is fitted to, and how much a row of each counts. Without
            any, trust stays as it is.
        calibrated: The same for doubt.
    """
    if not isinstance(classifier, CmaClip) or not classifier.config.modality_wise:
        return
    targets = torch.from_numpy(batches.products.targets[rows])
    vectors = {c: _encode(classifier, batches, rows, c) for c in trusted.keys() | calibrated.keys()}
    for column, attribute in enumerate(classifier.config.attributes):
        labels = targets[:, column]
        if trusted and (labels != UNLABELLED).any():
            shares = [(vectors[c], share) for c, share in trusted.items()]
            classifier.shift_trust(attribute, _choose_trust(classifier, attribute, shares, labels))
        if calibrated:
            shares = [(vectors[c], share) for c, share in calibrated.items()]
            classifier.set_doubt(attribute, _choose_doubt(classifier, attribute, shares, labels))


def _choose_trust(
    classifier: CmaClip, attribute: str, shares: Sequence[tuple[Vectors, float]], targets: Tensor
) -> float:
    targets = targets.to(classifier.device)
    losses = {
        shift: sum(
            share * _loss(classifier, attribute, vectors, targets, shift)
            for vectors, share in shares
        )
        for shift in _TRIED
    }
    return min(losses, key=losses.__getitem__)


def _choose_doubt(
    classifier: CmaClip, attribute: str, shares: Sequence[tuple[Vectors, float]], targets: Tensor
) -> float:
    """Returns the doubt of the least loss, each tried with temperatures fitted to its logits."""
    losses = {}
    for doubt in _DOUBTS:
        classifier.set_doubt(attribute, doubt)
        losses[doubt] = fitted_loss(
            [_label(classifier, attribute, vectors, targets, share) for vectors, share in shares]
        )
    return min(losses, key=losses.__getitem__)


def _label(
    classifier: CmaClip, attribute: str, vectors: Vectors, targets: Tensor, share: float
) -> LabelledLogits:
    """Returns what temperatures are fitted to: labelled rows that have both modalities."""
    with torch.inference_mode():
        logits, image_weight = classifier.answer_attribute(attribute, vectors)
    assert image_weight is not None
    fits = (targets != UNLABELLED) & (vectors.has_image & vectors.has_text).cpu()
    return LabelledLogits(
        logits.cpu()[fits], targets[fits], image_weight.float().cpu()[fits], share
    )


def _encode(
    classifier: CmaClip, batches: Batches, rows: np.ndarray, condition: Condition
) -> Vectors:
    return Vectors.join([out.vectors for _, out in ask(classifier, batches, rows, condition)])


def _loss(
    classifier: CmaClip, attribute: str, vectors: Vectors, targets: Tensor, shift: float
) -> float:
    with torch.inference_mode():
        logits, _ = classifier.answer_attribute(attribute, vectors, shift)
    return F.cross_entropy(logits, targets, ignore_index=UNLABELLED).item()
