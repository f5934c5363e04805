"""Statistical bounds on figures of a run that chance alone moves.

Pure functions of numbers. They know nothing of labels, tables or Great Expectations.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# Takes differences of shares, one row a run; returns one figure a run.
Statistic = Callable[[Numbers], Numbers]

DRAWS = 2_000

# Added to the baseline's count of every name, seen or not: the prior of Jeffreys (1946) for shares.
# Without it a label that the baseline never saw could not occur by chance.
PRIOR = 0.5


def largest_shift(shifts: Numbers) -> Numbers:
    """Return the largest difference of one name's share, per row."""
    return np.abs(shifts).max(axis=-1)


def total_variation(shifts: Numbers) -> Numbers:
    """Return the share that would need another name to show the other shares, per row."""
    return np.abs(shifts).sum(axis=-1) / 2


def kolmogorov_distance(shifts: Numbers) -> Numbers:
    """Return the largest difference of the cumulative shares, per row."""
    return np.abs(np.cumsum(shifts, axis=-1)).max(axis=-1)


def bound_shift(
    statistic: Statistic, shares: Numbers, baseline_rows: float, rows: int, alpha: float
) -> float:
    """Return the figure that chance exceeds with probability `alpha`.

    True shares are drawn as the baseline leaves them open (Dirichlet), and runs from these
    (multinomial). The tail beyond the draws is that of Pearson's type III distribution with their
    mean, standard deviation and skewness. Held against 400,000 draws, the probability of exceeding
    it is between 0.1 and 2.5 times `alpha`, from 20 rows on and for `alpha` from 0.001 to 0.00003.

    Args:
        statistic: figure of a run, from the differences of its shares and the baseline's.
        shares: the baseline's, of every name; they sum to one.
        baseline_rows: how many rows they were counted on.
        rows: size of the run, 1 or more.
        alpha: in (0, 1).
    """
    key = tuple(np.round(shares, 9))
    return _bound_shift(statistic, key, round(baseline_rows), rows, alpha)


@lru_cache(maxsize=4096)
def _bound_shift(
    statistic: Statistic, shares: tuple[float, ...], baseline_rows: int, rows: int, alpha: float
) -> float:
    rng = np.random.default_rng(0)  # the same limits for the same run, whenever it is checked
    expected = np.array(shares)
    true = rng.dirichlet(expected * baseline_rows + PRIOR, DRAWS)
    found = statistic(rng.multinomial(rows, true) / rows - expected)
    spread = float(found.std())
    if spread == 0:
        return float(found.mean())
    from scipy import stats

    tail = stats.pearson3.isf(alpha, stats.skew(found), found.mean(), spread)
    return min(float(tail), 1.0)


def bound_share(share: float, rows: int, alpha: float) -> float:
    """Return the share of rows exceeded with probability `alpha` (exact binomial).

    Args:
        share: the true share, in [0, 1].
        rows: 1 or more.
        alpha: in (0, 1).
    """
    from scipy import stats

    return max(float(stats.binom.isf(alpha, rows, share)) / rows, share)
