"""Bounds of simulated audits: how often they hold, and how close they are."""

from bisect import bisect_right
from functools import cache

import numpy as np
import pytest

from enrich.certificates import Stage, labels_to_prove, lower_bound

# In 1,000 audits a bound that holds in 95 % of them holds in more than this, but for one time in
# a thousand.
FEWEST_THAT_HOLD = 0.928


@cache
def bound_of(*stages: tuple[int, int, int], population: int | None = None) -> float:
    return lower_bound([Stage(*stage) for stage in stages], population)


def most_right(share, *stages):
    """Return how many answers of the last stage may be right with a bound of at most `share`."""
    *before, (drawn, labels, _) = stages
    counts = range(labels + 1)
    key = lambda right: bound_of(*before, (drawn, labels, right)) > share  # noqa: E731
    return bisect_right(counts, False, key=key) - 1


def audits(sample, count=1_000):
    """Return the number of right answers after each label of each audit, from 0 labels on."""
    random = np.random.default_rng(7)
    right = np.array([sample(random) for _ in range(count)]).cumsum(axis=1)
    return np.concatenate([np.zeros((count, 1), int), right], axis=1)


@pytest.mark.parametrize("labels", [60, 150, 300])
@pytest.mark.parametrize("share", [0.7, 0.9, 0.99])
def test_bound_holds_in_audits_that_are_looked_at_after_every_thirty_labels(share, labels):
    right = audits(lambda random: random.random(labels) < share)
    looks = list(range(30, labels + 1, 30))
    limits = [most_right(share, (labels, look, look)) for look in looks]
    fails = (right[:, looks] > limits).any(axis=1)
    assert 1 - fails.mean() >= FEWEST_THAT_HOLD


@pytest.mark.parametrize(("labels", "most"), [(120, 0.07), (300, 0.045)])
@pytest.mark.parametrize("share", [0.85, 0.9, 0.95, 0.99])
def test_bound_is_close_to_the_observed_share(share, labels, most):
    right = audits(lambda random: random.random(labels) < share)[:, -1]
    gaps = [found / labels - bound_of((labels, labels, int(found))) for found in right]
    assert 0 < np.mean(gaps) <= most


def test_bound_holds_where_people_draw_again_and_again_until_it_looks_good():
    share = 0.9
    right = audits(lambda random: random.random(260) < share)
    looks = [60, 90, 120, 190, 260]
    first = (120, 120, 113)  # a limit beyond these and all that follow would never be passed
    limits = [most_right(share, (120, look, look)) for look in looks[:3]]
    limits += [113 + most_right(share, first, (140, n, n)) for n in (70, 140)]
    fails = (right[:, looks] > limits).any(axis=1)
    assert 1 - fails.mean() >= FEWEST_THAT_HOLD


def test_labels_of_most_of_a_small_table_prove_more_of_it():
    share, population = 0.9, 200
    table = np.arange(population) < share * population
    right = audits(lambda random: random.permutation(table)[:120])[:, -1]
    bounds = [bound_of((120, 120, int(one)), population=population) for one in right]
    assert np.mean(np.array(bounds) <= share) >= FEWEST_THAT_HOLD
    assert np.mean(bounds) > np.mean([bound_of((120, 120, int(one))) for one in right]) + 0.01
    assert bound_of((200, 200, 180), population=population) == pytest.approx(share, abs=0.0011)


def test_more_right_answers_and_a_later_draw_never_prove_less():
    bounds = [bound_of((60, 60, right)) for right in range(61)]
    assert bounds == sorted(bounds) and bounds[0] == 0
    assert bound_of((60, 60, 54), (60, 1, 0)) == bound_of((60, 60, 54))
    assert bound_of((60, 60, 54), (60, 60, 60)) > bound_of((60, 60, 54))


def test_so_many_more_labels_prove_the_target():
    before = [Stage(120, 120, 113)]
    more = labels_to_prove(before, target=0.9)
    assert more is not None and lower_bound(before, None) < 0.9
    assert lower_bound([*before, Stage(more, more, round(more * 113 / 120))]) >= 0.9
    fewer = more // 2
    assert lower_bound([*before, Stage(fewer, fewer, round(fewer * 113 / 120))]) < 0.9
    assert labels_to_prove([Stage(120, 60, 59)], target=0.9) == 60
    assert labels_to_prove([Stage(120, 120, 107)], target=0.9) is None
