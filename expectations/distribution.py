"""Rules on the distribution of answers, and statistical bounds of chance.

Pure functions of counts and shares. They know nothing of Spark or Great Expectations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from enrich.errors import tell_apart
from numpy.typing import NDArray
from schemas.labels import ABSTAINED

from expectations.checks import say_limit
from expectations.counts import CONFIDENCE_EDGES, MovedCounts

# Bins of confidences by their upper edge, in order.
CONFIDENCE_BINS = tuple(f"{edge:g}" for edge in CONFIDENCE_EDGES)

# So many shifts are named in a sentence, each of them at least so large.
_NAMED, _WORTH_NAMING = 4, 0.01

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

    The statistic is made from the differences of a run's shares and the baseline's, which sum to
    one and were counted on `baseline_rows`. The run has 1 row or more; `alpha` is in (0, 1).
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

    `share` is the true one, in [0, 1], of 1 row or more.
    """
    from scipy import stats

    return max(float(stats.binom.isf(alpha, rows, share)) / rows, share)


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit of a rule.

    `most` is the share of products, in [0, 1], that `setting` allows. `alpha` in (0, 1) is the
    probability with which a sound run may fail.
    """

    setting: str
    most: float
    alpha: float


@dataclass(frozen=True, slots=True)
class BaselineShares:
    """Expected shares by name, and the number of rows that they rest on."""

    baseline: str
    shares: Mapping[str, float]
    rows: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of a rule.

    `observed` is a share of products in [0, 1], and `allowance` what chance adds to the limit.
    `detail` is the finding as a sentence. A failed check is about the names in `grown`, which are
    more frequent than expected.
    """

    observed: float
    allowance: float
    passed: bool
    detail: str
    grown: tuple[str, ...] = ()


def judge_label_shares(
    counts: Mapping[str, int], expected: BaselineShares, limit: Limit
) -> Finding:
    """Hold the label whose share moved most against the limit."""
    shift = _shift(counts, expected, limit, largest_shift)
    return shift.finding(
        f"{shift.named()} of {shift.rows:,} different products than the baseline "
        f"{expected.baseline!r} leads to expect"
    )


def judge_label_mix(counts: Mapping[str, int], expected: BaselineShares, limit: Limit) -> Finding:
    """Hold the share of products that would need another label against the limit."""
    shift = _shift(counts, expected, limit, total_variation)
    return shift.finding(
        f"{{found}} of {shift.rows:,} different products would need another label to show the "
        f"shares of the baseline {expected.baseline!r}: {shift.named()}"
    )


def judge_modalities(counts: Mapping[str, int], expected: BaselineShares, limit: Limit) -> Finding:
    """Hold the share of products that rest on other modalities against the limit."""
    shift = _shift(counts, expected, limit, total_variation)
    return shift.finding(
        f"{{found}} of {shift.rows:,} different products rest on other modalities than the "
        f"baseline {expected.baseline!r} leads to expect: {shift.named()}"
    )


def judge_confidences(counts: Mapping[str, int], expected: BaselineShares, limit: Limit) -> Finding:
    """Hold the largest change of shares below a confidence against the limit."""
    shift = _shift(counts, expected, limit, kolmogorov_distance)
    below = np.cumsum(shift.shifts)
    worst = int(np.abs(below).argmax())
    is_less_sure = below[worst] > 0
    edge, more = CONFIDENCE_BINS[worst], "more" if is_less_sure else "fewer"
    places = range(worst + 1) if is_less_sure else range(worst + 1, len(CONFIDENCE_BINS))
    return shift.finding(
        f"{{found}} {more} of {shift.rows:,} different products have a confidence below {edge} "
        f"than the baseline {expected.baseline!r} leads to expect",
        tuple(CONFIDENCE_BINS[place] for place in places),
    )


def judge_moved(counts: MovedCounts, model: str, limit: Limit) -> Finding:
    """Hold the share of unchanged products with another best label against the limit.

    There is no baseline here, so the limit itself is the share that chance is reckoned from. Counts
    are of 1 product or more; `model` says in words who wrote the published rows.
    """
    observed = counts.moved / counts.compared
    most = bound_share(limit.most, counts.compared, limit.alpha)
    found, _ = tell_apart(observed, most, ".1%")
    allowance = most - limit.most
    return Finding(
        observed,
        allowance,
        observed <= most,
        f"{found} of {counts.compared:,} different products with unchanged content have another "
        f"best label than {model} gave them, {say_limit(limit.setting, limit.most, allowance)}",
    )


@dataclass(frozen=True, slots=True)
class _Shift:
    """Differences of a run's shares and the expected ones, by name."""

    names: list[str]
    shares: Numbers
    expected: Numbers
    rows: int
    observed: float
    allowance: float
    limit: Limit

    @property
    def shifts(self) -> Numbers:
        return self.shares - self.expected

    def named(self) -> str:
        """Return the largest shifts in words, the largest first."""
        order = np.lexsort((-self.shifts, -np.abs(self.shifts).round(6)))
        large = [at for at in order if abs(self.shifts[at]) >= _WORTH_NAMING]
        return ", ".join(map(self._name, large[:_NAMED] or order[:1]))

    def _name(self, at: int) -> str:
        name = "without a label" if self.names[at] == ABSTAINED else self.names[at]
        more = "more" if self.shifts[at] >= 0 else "less"
        found, expected = tell_apart(self.shares[at], self.expected[at], ".1%")
        return f"{abs(self.shifts[at]):.1%} {more} {name} ({found}, expected {expected})"

    def finding(self, detail: str, grown: tuple[str, ...] | None = None) -> Finding:
        """Return the finding; `{found}` in the sentence becomes the observed share."""
        limit, most = self.limit, self.limit.most + self.allowance
        found, _ = tell_apart(self.observed, most, ".1%")
        if grown is None:
            # Others grew too, but hardly.
            by = zip(self.names, self.shifts, strict=True)
            grown = tuple(name for name, shift in by if shift >= max(self.shifts.max() / 2, 1e-9))
        return Finding(
            self.observed,
            self.allowance,
            self.observed <= most,
            detail.replace("{found}", found)
            + f"; {say_limit(limit.setting, limit.most, self.allowance)}",
            grown,
        )


def _shift(
    counts: Mapping[str, int], expected: BaselineShares, limit: Limit, statistic: Statistic
) -> _Shift:
    """Compare shares; chance adds to the limit only what it does beyond it.

    A run fails if it moved by more than the setting says and by more than chance explains.
    """
    # Names in the order of the baseline, which is that of the bins.
    names = list(dict.fromkeys([*expected.shares, *counts]))
    rows = sum(counts.values())
    shares = np.array([counts.get(name, 0) / rows for name in names])
    wanted = np.array([expected.shares.get(name, 0.0) for name in names])
    observed = float(statistic(shares - wanted))
    chance = bound_shift(statistic, wanted, expected.rows, rows, limit.alpha)
    allowance = max(chance - limit.most, 0.0)
    return _Shift(names, shares, wanted, rows, observed, allowance, limit)
