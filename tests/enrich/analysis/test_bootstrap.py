"""Figures with intervals over groups, and their differences."""

import math

import pytest
import torch

from enrich.analysis.bootstrap import (
    ACCURACY,
    FOUND,
    KEPT,
    LEAST_GROUPS,
    Column,
    Measures,
    ScoredAnswers,
    draw_groups,
    interval,
    measure,
)
from enrich.training.answers import once, recall_at_precision
from enrich.training.batches import Condition

COLUMN = Column("shop", Condition.AS_IS, "color")


def _scored(right, groups=None, given=None):
    confidence = torch.linspace(1, 0.5, len(right)).round(decimals=2)
    group = torch.arange(len(right)) if groups is None else groups
    return ScoredAnswers(
        confidence, right.bool(), confidence > 0 if given is None else given, group
    )


def _measures(**runs):
    return Measures({name: {COLUMN.key: one} for name, one in runs.items()}, draws=500)


def _draw(rows, share, seed):
    return torch.rand(rows, generator=torch.Generator().manual_seed(seed)) < share


def test_each_draw_has_the_plain_figures_of_the_rows_drawn():
    groups, right = torch.arange(60) % 25, _draw(60, 0.8, 0)
    scored = _scored(right, groups, given=_draw(60, 0.5, 1))
    for draw in draw_groups(25, replicates=50):
        rows = torch.arange(60).repeat_interleave(draw[groups].long())
        wanted = {
            ACCURACY: right[rows].float().mean().item(),
            FOUND: recall_at_precision(
                scored.confidence[rows], right[rows], 0.90, once(len(rows))
            ).item(),
            KEPT: right[rows][scored.given[rows]].float().mean().item(),
        }
        weights = draw[groups].unsqueeze(0)
        found = {figure: measure(scored, figure, weights).item() for figure in wanted}
        assert found == pytest.approx(wanted, abs=1e-6)


def test_answers_are_judged_by_their_own_thresholds(make_answers):
    answers = make_answers(80, 3, 0)
    scored = ScoredAnswers.of(answers)
    assert scored.right.equal(answers.probs.argmax(1) == answers.of.targets)
    assert scored.given.equal(answers.probs.amax(1) >= 0.6) and 0 < scored.given.sum() < 80


def test_draws_are_of_whole_groups_and_the_same_every_time():
    draws = draw_groups(30, replicates=200)
    assert draws.shape == (200, 30) and (draws.sum(1) == 30).all()
    assert draws.equal(draw_groups(30, replicates=200))
    assert len({tuple(draw.tolist()) for draw in draws}) == 200


def test_interval_covers_the_truth_about_as_often_as_said():
    groups, covered = torch.arange(300) // 3, 0
    for seed in range(100):
        # Rows of one group are right or wrong together, which single rows would not show.
        right = _draw(100, 0.8, seed).repeat_interleave(3)
        low, high = _measures(one=_scored(right, groups)).estimate("one", COLUMN).bounds
        covered += low <= 0.8 <= high
    assert 88 <= covered <= 99


def test_paired_difference_is_narrower_than_the_two_intervals_suggest():
    right = _draw(200, 0.7, 2)
    better = right | _draw(200, 0.15, 3)
    measures = _measures(one=_scored(right), other=_scored(better))
    one, other = measures.estimate("one", COLUMN), measures.estimate("other", COLUMN)
    gain = other.less(one)
    assert gain.is_significant and one.bounds[1] > other.bounds[0]
    assert gain.bounds[0] <= (better.float().mean() - right.float().mean()) <= gain.bounds[1]


@pytest.mark.parametrize("groups", [1, LEAST_GROUPS - 1, LEAST_GROUPS])
def test_a_handful_of_groups_gives_no_interval_and_so_no_difference_that_is_told(groups):
    right = torch.arange(60) % 3 > 0
    measures = _measures(one=_scored(right, torch.arange(60) % groups))
    found = measures.estimate("one", COLUMN)
    assert math.isnan(found.bounds[0]) == (groups < LEAST_GROUPS)
    assert found.value == pytest.approx(2 / 3) and not found.less(found).is_significant


@pytest.mark.parametrize("answered", [0, LEAST_GROUPS - 1, LEAST_GROUPS])
def test_the_interval_of_a_precision_wants_groups_that_are_answered(answered):
    right, given = torch.arange(60) % 3 > 0, torch.arange(60) < answered
    found = _measures(one=_scored(right, given=given)).estimate("one", COLUMN, KEPT)
    assert math.isnan(found.bounds[0]) == (answered < LEAST_GROUPS)
    assert math.isnan(found.value) == (answered == 0)


def test_interval_is_of_the_middle_95_percent_and_skips_empty_draws():
    values = torch.cat([torch.arange(101).float(), torch.full((7,), math.nan)])
    assert interval(values) == (2.5, 97.5)
