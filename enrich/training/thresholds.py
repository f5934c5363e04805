"""Abstention thresholds whose precision is proved on held-out answers.

Fixed-sequence testing as in "Learn then Test" (Angelopoulos et al. 2021, arXiv 2110.01052), with
exact binomial tests.
"""

import math

import numpy as np
from scipy import special, stats

from enrich.certificates import bound_share

# The chance that a threshold misses the precision that it is chosen for.
_DELTA = 0.1
# An answer that is more likely wrong than right is never given, even if the precision would hold.
_LEAST_CONFIDENCE = 0.5
# Starts of the sequences of tests, and their step, as shares of all rows. Labels are noisy, and a
# few wrong ones among the surest answers would end a single sequence at once.
_STARTS, _STEP = (0.1, 0.4), 0.01
# Labels with few answers are not told from others; labels with many may miss the target precision
# by the slack.
_FEW, _MANY, _SLACK = 20, 200, 0.02


def pick_threshold(
    score: np.ndarray,
    is_right: np.ndarray,
    groups: np.ndarray,
    precision: float,
    confidence: np.ndarray | None = None,
) -> float | None:
    """Return the lowest threshold that holds the precision; None if all fail.

    Thresholds are tested from strict to loose in two sequences, each ended by its first failure.
    The returned threshold misses the precision with a probability of 0.1 at most, whatever the
    confidences are.

    Args:
        score: (N,), order in which answers are given, such as their confidence; -inf for never.
        is_right: (N,), whether the answer is the label.
        groups: (N,), number of each row's group of near-identical products. One row of a group
            counts, as its rows are right or wrong together.
        precision: the share of right answers that is wanted, in (0, 1).
        confidence: (N,), in [0, 1]; None if the scores are the confidences. Answers below 0.5 are
            never given.
    """
    confidence = score if confidence is None else confidence
    _, first = np.unique(groups, return_index=True)
    first = first[(confidence[first] >= _LEAST_CONFIDENCE) & np.isfinite(score[first])]
    order = first[np.argsort(-score[first], kind="stable")]
    surest, right = score[order], is_right[order].cumsum()
    # Answers of equal scores are given together or not at all.
    counts = np.flatnonzero(np.append(surest[1:] != surest[:-1], True)[: len(surest)]) + 1
    delta = _DELTA / len(_STARTS)
    fewest = 2 * math.ceil(math.log(delta) / math.log(precision))
    step = max(1.0, _STEP * len(order))
    loosest = 0
    for start in _STARTS:
        at = int(np.searchsorted(counts, max(fewest, start * len(order))))
        while at < len(counts):
            answered = int(counts[at])
            if stats.binom.sf(right[answered - 1] - 1, answered, precision) > delta:
                break
            loosest = max(loosest, answered)
            # The loosest threshold is tested too.
            at = max(at + 1, min(int(np.searchsorted(counts, answered + step)), len(counts) - 1))
    return float(surest[loosest - 1]) if loosest else None


def find_floors(
    confidence: np.ndarray,
    is_right: np.ndarray,
    best: np.ndarray,
    least: np.ndarray,
    labels: int,
    precision: float,
) -> tuple[float | None, ...]:
    """Return the floor of each label: the confidence from which on its answers hold.

    Answers hold if the precision is not refuted with 95 % confidence (Clopper and Pearson 1934),
    and if 200 answers or more come within 0.02 of it. A floor of 0 leaves all to the thresholds;
    None never answers the label.

    Args:
        confidence: (N,), in [0, 1].
        is_right: (N,), whether the answer is the label.
        best: (N,), the place of the answer's label.
        least: (N,), the threshold of each row; inf is never.
        labels: how many labels there are.
        precision: the share of right answers that is wanted, in (0, 1).
    """
    floors: list[float | None] = []
    for label in range(labels):
        mine = np.flatnonzero((best == label) & (confidence >= least))
        order = mine[np.argsort(-confidence[mine], kind="stable")]
        counts = np.arange(1, len(order) + 1)
        right = is_right[order].cumsum()
        highest = stats.beta.ppf(0.95, right + 1, np.maximum(counts - right, 1e-9))
        fits = (highest >= precision) & (
            (counts < _MANY) | (right >= (precision - _SLACK) * counts)
        )
        if len(order) < _FEW or fits[-1]:
            floors.append(0.0)
            continue
        good = np.flatnonzero(fits & (counts >= _FEW))
        floors.append(float(confidence[order[good[-1]]]) if len(good) else None)
    return tuple(floors)


def log_odds(confidence: np.ndarray | float) -> np.ndarray:
    """Return the log odds of confidences in [0, 1], finite also for 0 and 1."""
    return np.asarray(special.logit(np.clip(confidence, 1e-6, 1 - 1e-6)))


def bound_precision(right: int, answered: int, delta: float = _DELTA) -> float:
    """Return the lower bound of a share (Clopper and Pearson 1934), in [0, 1].

    The share is below it with a probability of `delta` at most.
    """
    return bound_share(right, answered, delta)
