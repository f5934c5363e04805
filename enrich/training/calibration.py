"""Fits temperatures and abstention thresholds to labelled rows that training did not see.

Temperature scaling is Guo et al. 2017 (arXiv 1706.04599). A threshold is the lowest confidence at
which a lower bound on the precision still holds. Knows nothing of classifiers.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.calibration import TARGET_PRECISIONS, CalibratedModalities

# One-sided 90 %: thresholds rest on a few hundred to a few thousand validation rows.
_WILSON_Z = 1.2816


def fit(logits: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> CalibratedModalities:
    """Fits temperature and thresholds to labelled rows that training did not see."""
    temperature = fit_temperature(logits, targets)
    confidence, best = (logits / temperature).softmax(1).max(1)
    correct = best == targets
    thresholds = {
        f"{precision:.2f}": pick_threshold(confidence, correct, precision)
        for precision in TARGET_PRECISIONS
    }
    return CalibratedModalities(temperature=temperature, thresholds=thresholds, rows=len(targets))


def fit_temperature(logits: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> float:
    """Returns the temperature of least negative log-likelihood, in [0.05, 20].

    The likelihood is concave in 1/T, so bisection on the sign of its derivative is exact and
    deterministic. Without rows the temperature is 1.
    """
    if len(targets) == 0:
        return 1.0
    logits = logits.double()
    hit = logits.gather(1, targets.unsqueeze(1)).squeeze(1).mean()
    low, high = math.log(1 / 20), math.log(1 / 0.05)
    for _ in range(40):
        middle = (low + high) / 2
        expected = ((logits * math.exp(middle)).softmax(1) * logits).sum(1).mean()
        low, high = (low, middle) if expected > hit else (middle, high)
    return math.exp(-(low + high) / 2)


def pick_threshold(
    confidence: Float[Tensor, " N"], correct: Bool[Tensor, " N"], precision: float
) -> float | None:
    """Returns the lowest confidence at and above which precision is at least `precision`.

    Precision is taken by its lower Wilson bound, so that a lucky handful of rows sets nothing.
    """
    order = confidence.argsort(descending=True)
    sorted_confidence = confidence[order]
    hits = correct[order].double().cumsum(0)
    counts = torch.arange(1, len(order) + 1, dtype=torch.double)
    good = _wilson_lower_bound(hits, counts) >= precision
    # Rows of equal confidence are answered together or not at all.
    last_of_ties = torch.ones_like(good)
    last_of_ties[:-1] = sorted_confidence[:-1] != sorted_confidence[1:]
    found = (good & last_of_ties).nonzero()
    return float(sorted_confidence[found[-1]]) if len(found) else None


def _wilson_lower_bound(hits: Tensor, counts: Tensor) -> Tensor:
    share, z2 = hits / counts, _WILSON_Z**2
    spread = _WILSON_Z * (share * (1 - share) / counts + z2 / (4 * counts**2)).sqrt()
    return (share + z2 / (2 * counts) - spread) / (1 + z2 / counts)
