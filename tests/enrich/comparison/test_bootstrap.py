"""Resampled figures are the plain figures of the rows drawn, and their intervals cover."""

import math

import pytest
import torch
from torch import Tensor

from enrich.comparison.bootstrap import FIGURES, draw_groups, interval, replicate
from enrich.training.measures import macro_f1, once, recall_at_precision

ROWS, LABELS, GROUPS = 60, 4, 25
Given = tuple[Tensor, Tensor, Tensor, Tensor]


def _all_answered(targets: Tensor) -> Tensor:
    return torch.zeros(len(targets))


@pytest.fixture(scope="module")
def answers() -> Given:
    """Probabilities of two decimals, so that confidences tie, targets, groups and thresholds."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(ROWS, LABELS, generator=generator)
    targets = torch.randint(0, LABELS, (ROWS,), generator=generator)
    scores[torch.arange(ROWS), targets] += 2
    groups = torch.randint(0, GROUPS, (ROWS,), generator=generator)
    thresholds = torch.tensor([0.6, 0.9]).repeat(ROWS // 2)
    return (scores.softmax(1) * 100).round() / 100, targets, groups, thresholds


def test_each_replicate_is_the_plain_figure_of_the_rows_drawn(
    answers: Given,
) -> None:
    probs, targets, groups, thresholds = answers
    draws = draw_groups(GROUPS, replicates=50)
    found = replicate(*answers, draws)
    for at, draw in enumerate(draws):
        rows = torch.arange(ROWS).repeat_interleave(draw[groups].long())
        confidence, best = probs[rows].max(1)
        correct = best == targets[rows]
        wanted = (
            correct.float().mean().item(),
            macro_f1(best, targets[rows], once(len(rows))).item(),
            recall_at_precision(confidence, correct, 0.90, once(len(rows))).item(),
            correct[confidence >= thresholds[rows]].float().mean().item(),
        )
        assert [found[figure][at].item() for figure in FIGURES] == pytest.approx(wanted, abs=1e-6)


def test_a_rare_label_that_a_draw_misses_keeps_its_f1() -> None:
    # Never found, so that a mean over the labels drawn would be 1 without it.
    targets, groups = torch.tensor([0, 0, 0, 1]), torch.arange(4)
    probs = torch.tensor([[0.9, 0.1]] * 4)
    draws = torch.tensor([[2.0, 1, 1, 0], [1, 1, 1, 1]])
    found = replicate(probs, targets, groups, _all_answered(targets), draws)["macro_f1"]
    assert found.tolist() == pytest.approx([(1 + 0) / 2, (6 / 7 + 0) / 2])


def test_rows_are_held_in_chunks_that_change_nothing(
    answers: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = draw_groups(GROUPS, replicates=50)
    whole = replicate(*answers, draws)
    monkeypatch.setattr("enrich.comparison.bootstrap._CHUNK", 7 * ROWS)
    parts = replicate(*answers, draws)
    assert all(whole[figure].equal(parts[figure]) for figure in FIGURES)


def test_draws_are_of_whole_groups_and_the_same_every_time() -> None:
    draws = draw_groups(30, replicates=200)
    assert draws.shape == (200, 30) and (draws.sum(1) == 30).all()
    assert draws.equal(draw_groups(30, replicates=200))
    assert len({tuple(draw.tolist()) for draw in draws}) == 200
    assert draws.mean(0).sub(1).abs().max() < 0.3


def test_interval_covers_the_truth_about_as_often_as_said() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = draw_groups(100, replicates=300)
    targets, groups = torch.zeros(300, dtype=torch.long), torch.arange(300) // 3
    covered = 0
    for _ in range(200):
        # Rows of one group are right or wrong together, which single rows would not show.
        right = (torch.rand(100, generator=generator) < 0.8).float().repeat_interleave(3)
        probs = torch.stack([right, 1 - right], dim=1)
        found = replicate(probs, targets, groups, _all_answered(targets), draws)
        low, high = interval(found["accuracy"])
        covered += low <= 0.8 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_paired_difference_is_narrower_than_the_two_intervals_suggest() -> None:
    generator = torch.Generator().manual_seed(2)
    draws = draw_groups(200, replicates=500)
    targets, groups = torch.zeros(200, dtype=torch.long), torch.arange(200)
    right = torch.rand(200, generator=generator) < 0.7
    better = right | (torch.rand(200, generator=generator) < 0.15)
    one, other = (
        replicate(torch.stack([r, ~r], 1).float(), targets, groups, _all_answered(targets), draws)
        for r in (right, better)
    )
    low, high = interval(other["accuracy"] - one["accuracy"])
    assert low > 0 and interval(one["accuracy"])[1] > interval(other["accuracy"])[0]
    assert low <= (better.float().mean() - right.float().mean()).item() <= high


def test_a_draw_without_an_answered_row_has_no_precision() -> None:
    probs, targets = torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 0])
    draws = torch.tensor([[1.0, 1], [0, 2]])
    found = replicate(probs, targets, torch.arange(2), torch.full((2,), 0.8), draws)
    assert found["precision_at_90_threshold"].tolist() == pytest.approx([1, math.nan], nan_ok=True)


def test_interval_is_of_the_middle_95_percent_and_skips_empty_draws() -> None:
    values = torch.cat([torch.arange(101).float(), torch.full((7,), math.nan)])
    assert interval(values) == (2.5, 97.5)
