"""Certificates: lower bounds of published precision from random samples.

The bound holds after every label at once, so people may look as often as they like. It is exact:
for each share p the sample is followed label by label, summing the probability that p is ever said
to be exceeded. That probability never exceeds 1 - CONFIDENCE. The allowance is spent as in
group-sequential trials (Lan and DeMets, 1983, power family): little on the first labels of a draw,
nearly all on its last ones. After 120 of 120 labels the bound lies 0.005 below the one for a single
look (Clopper and Pearson).

A later draw continues the sample, with the allowance that the draws before it left.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

import numpy as np
from scipy.special import betaincinv

CONFIDENCE = 0.95
# Below, a label or a category gets no certificate of its own.
FEWEST_LABELS = 30

# Of the allowance that is left, the part that a draw may spend, and how late it does.
_SPENT_BY_A_DRAW = 0.85
_LATENESS = 8
_DIGITS = 3
_MOST_MORE = 5_000


@dataclass(frozen=True, slots=True)
class Stage:
    """Labels from the first one of a draw to the first one of the next draw.

    `drawn` counts the answers that were drawn, `labels` those that a person has labelled since,
    `right` those of them whose published label is the person's.
    """

    drawn: int
    labels: int
    right: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """Lower bound of the share of right answers of an attribute, or of a part.

    `bound` and `observed` are shares of right answers, in [0, 1]. `more_labels` is how many
    labels more would prove `target` if as many of them are right. It is None where the target
    is proved, or where as many right answers would not prove it.
    """

    drawn: int
    labels: int
    right: int
    target: float
    observed: float
    bound: float
    more_labels: int | None

    @property
    def is_proved(self) -> bool:
        """True where the target is proved."""
        return self.bound >= self.target


def certify(stages: Sequence[Stage], target: float, population: int | None = None) -> Certificate:
    """Return the certificate of the labels of one or more draws.

    Stages are in the order of their labels, of which there is at least one. `target` is the share
    that is to be proved, in (0, 1), and `population` the number of answers that the draws chose
    from; None: unlimited, which is safe always.
    """
    labels, right = sum(s.labels for s in stages), sum(s.right for s in stages)
    bound = lower_bound(stages, population)
    is_proved = bound >= target
    return Certificate(
        drawn=sum(s.drawn for s in stages),
        labels=labels,
        right=right,
        target=target,
        observed=right / labels,
        bound=bound,
        more_labels=None if is_proved else labels_to_prove(stages, target, population),
    )


def lower_bound(stages: Sequence[Stage], population: int | None = None) -> float:
    """Return the lower bound of the share of right answers, in [0, 1], at CONFIDENCE.

    With probability CONFIDENCE it lies below the true share after every label of every draw. Stages
    and population are as in `certify`; the draws chose without repetition.
    """
    whole = 0
    for digit in range(1, _DIGITS + 1):
        # All but the last digit are known: try its ten values at once.
        tried = (whole * 10 + np.arange(10)) / 10**digit
        is_refuted = _refute(tuple(stages), tried, population)
        whole = whole * 10 + max(0, int(np.argmin([*is_refuted, False])) - 1)
    return float(whole / 10**_DIGITS)


def labels_to_prove(
    stages: Sequence[Stage], target: float, population: int | None = None
) -> int | None:
    """Return how many more labels would prove the target.

    As many of them must be right. First the last draw is labelled to its end, then one more
    draw is. Rounded up to tens. None where 5,000 more, or all of the population, would not
    prove it.
    """
    labels, right = sum(s.labels for s in stages), sum(s.right for s in stages)
    if not labels or right / labels <= target:
        return None
    observed = right / labels
    *before, last = stages
    left = max(0, last.drawn - last.labels)
    finished = replace(last, labels=last.labels + left, right=last.right + round(left * observed))
    tried = np.array([target])
    if left and _refute((*before, finished), tried, population)[0]:
        return left
    most = _MOST_MORE if population is None else min(_MOST_MORE, population - labels - left)

    def would_prove(more: int) -> bool:
        further = Stage(more, more, round(observed * more))
        return bool(_refute((*before, finished, further), tried, population)[0])

    too_few, enough = 0, 10
    while enough <= most and not would_prove(enough):
        too_few, enough = enough, enough * 2
    if enough > most and not (most > too_few and would_prove(most)):
        return None
    enough = min(enough, most)
    while enough - too_few > 10:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if would_prove(middle) else (middle, enough)
    return -(-(left + enough) // 10) * 10


def _refute(stages: tuple[Stage, ...], shares: np.ndarray, population: int | None) -> np.ndarray:
    """Return for each share whether the labels prove that the true one is larger.

    A share is refuted if at the end of any stage more answers are right than the share's limit.
    The probability of passing a limit at any label, summed up over labels, stays below the
    allowance.
    """
    size = sum(s.labels for s in stages) + 1
    # In a population the share stands for the largest whole number that it allows.
    whole = None if population is None else np.floor(shares * population + 1e-9)[:, None]
    right = np.arange(size + 1)
    alive = np.zeros((len(shares), size + 1))  # probability of so many right, and no limit passed
    alive[:, 0] = 1.0
    passed = np.zeros(len(shares))
    is_refuted = np.zeros(len(shares), bool)
    number = total = 0
    allowed, left = 0.0, 1 - CONFIDENCE
    for stage in stages:
        budget = _SPENT_BY_A_DRAW * left
        left -= budget
        total += stage.right
        limits = np.full(len(shares), size + 1)
        for place in range(1, stage.labels + 1):
            if whole is None or population is None:
                chance = shares[:, None]
            else:
                chance = np.clip((whole - right) / max(1, population - number), 0, 1)
            moved = alive * chance
            alive *= 1 - chance
            alive[:, 1:] += moved[:, :-1]
            number += 1
            spent = allowed + budget * min(1.0, place / max(1, stage.drawn)) ** _LATENESS
            tails = np.cumsum(alive[:, ::-1], axis=1)[:, ::-1]
            is_small = tails <= (spent - passed)[:, None]
            is_small[:, number + 1 :] = True
            limits = np.argmax(is_small, axis=1)
            passed += tails[np.arange(len(shares)), limits]
            alive[right[None, :] >= limits[:, None]] = 0.0
        is_refuted |= total >= limits
        allowed += budget
    return is_refuted


def state(certificate: Certificate, answers: str, first: datetime, last: datetime) -> str:
    """Return a certificate as a sentence.

    `answers` names the answers in the plural: colors. The times are those of the first and the last
    label.
    """
    one = certificate
    proved = (
        f"at least {_percent(one.bound)} of the {answers} in this table are right, with "
        f"{_percent(CONFIDENCE)} confidence, by {one.labels:,} labels of {_months(first, last)}"
    )
    target = _percent(one.target)
    if one.is_proved:
        return proved
    if one.more_labels is not None:
        return f"{proved}; about {one.more_labels:,} labels more would prove {target}"
    found = f"{one.right:,} of the {one.labels:,} were right"
    return f"{proved}; {found}, which more labels alone will not make a proof of {target}"


@cache
def name_answers(attribute: str) -> str:
    """Return the plural name of an attribute's answers: colors, sleeve lengths."""
    name = attribute.replace("_", " ")
    return f"{name} labels" if name.endswith(("s", "x", "y", "ch", "sh")) else f"{name}s"


def _percent(share: float) -> str:
    """Return a share in whole percents, rounded down."""
    return f"{int(share * 100 + 1e-9)} %"


def _months(first: datetime, last: datetime) -> str:
    begin, end = (f"{calendar.month_name[at.month]} {at.year}" for at in (first, last))
    if begin == end:
        return end
    return f"{begin if first.year != last.year else calendar.month_name[first.month]} to {end}"


def exact_interval(hits: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Clopper and Pearson (1934).

    It is (0, 1) of 0 rows.
    """
    tail = (1 - CONFIDENCE) / 2
    return bound_share(hits, rows, tail), 1 - bound_share(rows - hits, rows, tail)


def bound_share(hits: int, rows: int, delta: float) -> float:
    """Return the lower bound of a share by Clopper and Pearson (1934), in [0, 1].

    The share is below it with a probability of `delta` at most.
    """
    return float(betaincinv(hits, rows - hits + 1, delta)) if hits else 0.0
