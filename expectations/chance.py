"""How far figures of a run may lie from a baseline's, and how much of that chance explains.

Every `allowed_` function answers one question: if the catalog had really moved by `tolerance`,
which figure would a run of `rows` products exceed with probability `alpha` only? Pure functions of
numbers; they know nothing of labels, tables or Great Expectations.
"""

from functools import lru_cache
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Numbers = NDArray[np.float64]

# Added to every label's baseline count, seen or not, so that no divergence is infinite: the prior
# of Jeffreys (1946) for shares.
PSEUDO_COUNT = 0.5


def kl_divergence(counts: Numbers, shares: Numbers, baseline_rows: float) -> float:
    """Returns the divergence of the counts' shares from the baseline's, in nats.

    Args:
        counts: rows by label.
        shares: the baseline's share of the same labels, 0 for one that it never saw.
        baseline_rows: how many rows those shares were counted on.
    """
    expected = shares * baseline_rows + PSEUDO_COUNT
    expected = expected / expected.sum()
    return float(special.rel_entr(counts / counts.sum(), expected).sum())


def total_variation(counts: Numbers, shares: Numbers) -> float:
    """Returns the share of rows that would need another label to show the baseline's shares."""
    return float(np.abs(counts / counts.sum() - shares).sum() / 2)


def kolmogorov_distance(counts: Numbers, shares: Numbers) -> float:
    """Returns the largest difference of the two cumulative distributions over ordered bins."""
    return float(np.abs(np.cumsum(counts / counts.sum() - shares)).max())


def joint_rows(rows: float, baseline_rows: float) -> float:
    """Returns how many rows against a known truth are as telling as two samples of these sizes."""
    return 1 / (1 / rows + 1 / baseline_rows)


@lru_cache(maxsize=4096)
def allowed_divergence(
    tolerance: float, rows: float, baseline_rows: float, labels: int, alpha: float
) -> float:
    """Returns the divergence that is exceeded with probability `alpha`, in nats.

    Twice the rows times the divergence is the G statistic: chi-squared with labels - 1 degrees of
    freedom where nothing moved (Wilks 1938), noncentral by twice the rows times the true
    divergence where something did (Patnaik 1949). Holds well where most labels are expected a few
    times and frequent ones have moved. Where a rare one grows by the whole tolerance the spread is
    larger: up to 3 % of such runs exceed it (simulated).
    """
    doubled = 2 * joint_rows(rows, baseline_rows)
    freedom = max(labels - 1, 1)
    if tolerance == 0:
        return float(stats.chi2.isf(alpha, freedom) / doubled)
    return float(stats.ncx2.isf(alpha, freedom, doubled * tolerance) / doubled)


def allowed_total_variation(
    tolerance: float, rows: float, baseline_rows: float, shares: Numbers, alpha: float
) -> float:
    """Returns the total variation that is exceeded with probability `alpha` at most.

    Its mean is bounded by the labels' standard deviations (Berend and Kontorovich 2013), and one
    row moves it by 1 / rows, which bounds the rest (McDiarmid 1989).
    """
    joint = joint_rows(rows, baseline_rows)
    # A mixture of shares may be above 1 by rounding, and its variance below 0.
    variances = np.maximum(shares * (1 - shares), 0) / joint
    mean = np.sqrt(variances).sum() / 2
    return tolerance + float(mean) + sqrt(log(1 / alpha) / (2 * joint))


def allowed_kolmogorov_distance(
    tolerance: float, rows: float, baseline_rows: float, alpha: float
) -> float:
    """Returns the distance exceeded with probability `alpha` at most (Smirnov 1939, two samples).

    Between bins of values the distance is at most as large as between the values: the bound holds.
    """
    noise = stats.kstwobign.isf(alpha) / sqrt(joint_rows(rows, baseline_rows))
    return tolerance + float(noise)


def allowed_mean_shift(
    tolerance: float, rows: float, baseline_rows: float, sd: float, alpha: float
) -> float:
    """Returns the two-sided difference of means exceeded with probability `alpha` (normal)."""
    return tolerance + float(stats.norm.isf(alpha / 2)) * sd / sqrt(joint_rows(rows, baseline_rows))


def allowed_share(tolerance: float, rows: int, alpha: float) -> float:
    """Returns the share of rows exceeded with probability `alpha` at most (exact binomial)."""
    return float(stats.binom.isf(alpha, rows, tolerance)) / rows


def required_share(wanted: float, rows: int, alpha: float) -> float:
    """Returns the share of rows fallen short of with probability `alpha` at most (binomial)."""
    # Reckoned in rows, as the share is that it is compared to: rounded, 1 minus the other share
    # might lie just above a share that is equal.
    return (rows - float(stats.binom.isf(alpha, rows, 1 - wanted))) / rows
