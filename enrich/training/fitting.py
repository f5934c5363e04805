"""Fits to validation groups, after training.

The modality bias of CMA-CLIP and its disagreement penalty, a correction for rare labels, and the
calibration.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from enrich.calibration import Calibration, ScoreCorrection
from enrich.classifiers.calibrated import Layer, to_layer
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.interface import Classifier, Vectors
from enrich.records import Modalities
from enrich.training.answers import Answers
from enrich.training.batches import Batches, Condition
from enrich.training.calibration import LabelledLogits, fit, fitted_loss
from enrich.training.evaluation import answer, ask
from enrich.training.labelled import UNLABELLED
from enrich.training.measures import macro_f1, once

# The conditions under which a set of modalities is calibrated, and how much a row of each counts. A
# shop whose titles do not name the color is as likely as one whose titles do; one whose texts are
# other products' is rare.
CALIBRATED_UNDER = {
    Modalities.IMAGE_AND_TEXT: {
        Condition.AS_IS: 1.0,
        Condition.WORDS_MASKED: 1.0,
        Condition.OTHER_TEXT: 0.3,
    },
    Modalities.IMAGE: {Condition.NO_TEXT: 1.0},
    Modalities.TEXT: {Condition.NO_IMAGE: 1.0},
}
# What the trust in pictures is fitted to. Texts of other products count even less here: confidence
# is to be right for them too, but answers to all other products are not to get worse for them.
TRUSTED_UNDER = CALIBRATED_UNDER[Modalities.IMAGE_AND_TEXT] | {Condition.OTHER_TEXT: 0.1}

# The smallest first, because the first of equals is chosen: where no product has both modalities,
# all of them are equal.
_TRIED = sorted(np.linspace(-4, 4, 65).tolist(), key=abs)
_DOUBTS = np.linspace(0, 1, 17).tolist()

_TAUS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
# How much accuracy may be lost, in standard errors: too little to be told from chance.
_UNSEEN = 0.25


def only_shown(
    shares: Mapping[Condition, float], shown: Collection[Condition]
) -> dict[Condition, float]:
    """Return the shares of those conditions that training has `shown`; there may be none."""
    return {condition: share for condition, share in shares.items() if condition in shown}


def fit_trust(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    trusted: Mapping[Condition, float],
    calibrated: Mapping[Condition, float],
) -> None:
    """Shift each attribute's trust to the labels' least loss, and sets its doubt to the answers'.

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
    """Return the doubt of the least loss, each tried with temperatures fitted to its logits."""
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
    """Return what temperatures are fitted to: labelled rows that have both modalities."""
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


def calibrate(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    trained_on: np.ndarray,
    shown: Collection[Condition],
) -> Calibration:
    """Fit corrections for rare labels, temperatures and thresholds on validation rows.

    Which labels are rare is counted in the rows that were `trained_on`. A set of modalities is
    calibrated under those of its conditions that training has `shown`.
    """
    # If none of them, under all: a checkpoint holds temperatures for every set of modalities.
    under = {
        modalities: only_shown(shares, shown) or shares
        for modalities, shares in CALIBRATED_UNDER.items()
    }
    answers = {
        condition: answer(classifier, batches, rows, condition)
        for shares in under.values()
        for condition in shares
    }
    fitted, corrections = {}, {}
    seen = torch.from_numpy(batches.products.targets[trained_on])
    for column, (attribute, labels) in enumerate(classifier.config.attributes.items()):
        mine = {condition: found[attribute] for condition, found in answers.items()}
        correction = prefer_rare_labels(
            [one for conditions in _to_calibrate(mine, under).values() for one in conditions],
            log_priors(seen[:, column], len(labels)),
        )
        if correction is not None:
            corrections[attribute] = correction
        corrected = _to_calibrate(mine, under, to_layer(correction))
        fitted[attribute] = {
            modalities: fit(conditions) for modalities, conditions in corrected.items()
        }
    return Calibration(attributes=fitted, corrections=corrections)


def _to_calibrate(
    answers: Mapping[Condition, Answers],
    under: Mapping[Modalities, Mapping[Condition, float]],
    layer: Layer | None = None,
) -> dict[Modalities, list[LabelledLogits]]:
    """Return the rows to calibrate each set of modalities on, corrected if a layer is given."""
    return {
        modalities: [
            answers[condition].corrected(layer).read_from(modalities).to_calibrate(share)
            for condition, share in shares.items()
        ]
        for modalities, shares in under.items()
    }


def prefer_rare_labels(
    conditions: Sequence[LabelledLogits], log_priors: Float[Tensor, " C"]
) -> ScoreCorrection | None:
    """Return the correction of highest macro-F1 that costs no accuracy to speak of, or None.

    Both are means over the conditions. The rows must not be those trained on.

    Args:
        conditions: Labelled rows of one attribute.
        log_priors: The logarithm of each label's share among the rows trained on.
    """
    labelled = [condition for condition in conditions if len(condition.targets)]
    if not labelled:
        return None
    scores = {tau: _weigh(labelled, -tau * log_priors) for tau in _TAUS}
    accuracy, _ = scores[0.0]
    rows = max(len(condition.targets) for condition in labelled)
    least = accuracy - _UNSEEN * (accuracy * (1 - accuracy) / rows) ** 0.5
    allowed = [tau for tau in _TAUS if scores[tau][0] >= least]
    best = max(allowed, key=lambda tau: scores[tau][1])
    if best == 0:
        return None
    return ScoreCorrection(bias=tuple((-best * log_priors).tolist()))


def log_priors(targets: Int[Tensor, " N"], labels: int) -> Float[Tensor, " C"]:
    """Return the logarithm of each label's share in the targets, unlabelled rows left out.

    One row is added to every label, so that none is infinitely rare.
    """
    counts = torch.bincount(targets[targets != UNLABELLED], minlength=labels) + 1
    return (counts / counts.sum()).log()


def _weigh(labelled: Sequence[LabelledLogits], shift: Float[Tensor, " C"]) -> tuple[float, float]:
    """Return mean accuracy and mean macro-F1 of the shifted scores."""
    accuracies, f1s = [], []
    for condition in labelled:
        best = (condition.logits + shift).argmax(1)
        accuracies.append((best == condition.targets).float().mean().item())
        f1s.append(macro_f1(best, condition.targets, once(len(best))).item())
    return sum(accuracies) / len(accuracies), sum(f1s) / len(f1s)
