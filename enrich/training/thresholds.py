"""Abstention thresholds whose precision is proved on held-out answers.

Fixed-sequence testing as in "Learn then Test" (Angelopoulos et al. 2021, arXiv 2110.01052), with
exact binomial tests. Knows nothing of classifiers.
"""

import math

import numpy as np
from scipy import special, stats

# The chance that a threshold misses the precision that it is chosen for.
_DELTA = 0.1
# An answer that is more likely wrong than right is not given, even if the surer answers are so good
# that the precision of all would still hold.
_LEAST_CONFIDENCE = 0.5
# Where the sequences of tests start, as shares of all rows: labels are noisy, and a few wrong ones
# among the surest would end a single sequence at once. They go on by the step.
_STARTS, _STEP = (0.1, 0.4), 0.01
# Labels with fewer answers cannot be told from the others; those with many may miss the target
# precision by no more than the slack.
_FEW, _MANY, _SLACK = 20, 200, 0.02


def pick_threshold(
    score: np.ndarray,
    is_right: np.ndarray,
    groups: np.ndarray,
    precision: float,
    confidence: np.ndarray | None = None,
) -> float | None:
    """Return the lowest score from which on answers have the precision; None if none has.

    Thresholds are tested from strict to loose in two sequences, each ended by the first that fails.
    So the chance that the one returned misses the precision is 0.1 at most, however the confidences
    came about.

    Args:
        score: (N,), what answers are given by, such as their confidence; -inf for never.
        is_right: (N,), whether the answer is the label.
        groups: (N,), number of each row's group of near-identical products. They are right or wrong
            together, so one of a group counts.
        precision: the share of right answers that is wanted, in (0, 1).
        confidence: (N,), in [0, 1]; None where the scores are the confidences. Answers below 0.5
            are not given.
    """
    confidence = score if confidence is None else confidence
    _, first = np.unique(groups, return_index=True)
    first = first[(confidence[first] >= _LEAST_CONFIDENCE) & np.isfinite(score[first])]
    order = first[np.argsort(-score[first], kind="stable")]
    surest, right = score[order], is_right[order].cumsum()
    # Answers of equal scores are given together or not at all.
    counts = np.flatnonzero(np.append(surest[1:] != surest[:-1], True)[: len(surest)]) + 1
    doubt = _DELTA / len(_STARTS)
    fewest = 2 * math.ceil(math.log(doubt) / math.log(precision))
    step = max(1.0, _STEP * len(order))
    loosest = 0
    for start in _STARTS:
        at = int(np.searchsorted(counts, max(fewest, start * len(order))))
        while at < len(counts):
            answered = int(counts[at])
            if stats.binom.sf(right[answered - 1] - 1, answered, precision) > doubt:
                break
            loosest = max(loosest, answered)
            # The loosest one of all is tested too.
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
    """Return for each label the confidence from which on its answers are good enough.

    They are where the precision is not refuted with 95 % confidence (Clopper and Pearson 1934), and
    where 200 answers or more come within 0.02 of it. 0 where the thresholds do; None is never.

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
    """Return the log odds of confidences in [0, 1]; those of 0 and 1 are finite too."""
    return np.asarray(special.logit(np.clip(confidence, 1e-6, 1 - 1e-6)))


def bound_precision(right: int, answered: int) -> float:
    """Return the lower bound of a share (Clopper and Pearson 1934), in [0, 1].

    In nine of ten samples the true share is above it.
    """
    return float(stats.beta.ppf(_DELTA, right, answered - right + 1)) if right else 0.0
