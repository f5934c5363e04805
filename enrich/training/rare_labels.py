"""Chooses how far rare labels are preferred to frequent ones, beyond what training made of them.

Post-hoc logit adjustment (Menon et al. 2020, arXiv 2007.07314): tau times the logarithm of a
label's share is taken off its score. With tau = 1 all labels count alike, at the price of many
frequent ones; a little of it finds rare labels that are hardly ever answered without, and costs
nothing.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from enrich.calibration import ScoreCorrection
from enrich.training.calibration import LabelledLogits
from enrich.training.labelled import UNLABELLED
from enrich.training.measures import macro_f1, once

_TRIED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
# How much accuracy may be lost, in standard errors: too little to be told from chance.
_UNSEEN = 0.25


def prefer_rare_labels(
    conditions: Sequence[LabelledLogits], log_priors: Float[Tensor, " C"]
) -> ScoreCorrection | None:
    """Returns the correction of highest macro-F1 that costs no accuracy to speak of, or None.

    Both are means over the conditions. The rows must not be those trained on.

    Args:
        conditions: Labelled rows of one attribute.
        log_priors: The logarithm of each label's share among the rows trained on.
    """
    labelled = [condition for condition in conditions if len(condition.targets)]
    if not labelled:
        return None
    scores = {tau: _weigh(labelled, -tau * log_priors) for tau in _TRIED}
    accuracy, _ = scores[0.0]
    rows = max(len(condition.targets) for condition in labelled)
    least = accuracy - _UNSEEN * (accuracy * (1 - accuracy) / rows) ** 0.5
    allowed = [tau for tau in _TRIED if scores[tau][0] >= least]
    best = max(allowed, key=lambda tau: scores[tau][1])
    if best == 0:
        return None
    return ScoreCorrection(bias=tuple((-best * log_priors).tolist()))


def log_priors(targets: Int[Tensor, " N"], labels: int) -> Float[Tensor, " C"]:
    """Returns the logarithm of each label's share in the targets, unlabelled rows left out.

    One row is added to every label, so that none is infinitely rare.
    """
    counts = torch.bincount(targets[targets != UNLABELLED], minlength=labels) + 1
    return (counts / counts.sum()).log()


def _weigh(labelled: Sequence[LabelledLogits], shift: Float[Tensor, " C"]) -> tuple[float, float]:
    """Returns mean accuracy and mean macro-F1 of the shifted scores."""
    accuracies, f1s = [], []
    for condition in labelled:
        best = (condition.logits + shift).argmax(1)
        accuracies.append((best == condition.targets).float().mean().item())
        f1s.append(macro_f1(best, condition.targets, once(len(best))).item())
    return sum(accuracies) / len(accuracies), sum(f1s) / len(f1s)
