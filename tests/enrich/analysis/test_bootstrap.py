"""Bootstrap intervals of figures and of their differences."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from enrich.analysis.bootstrap import (
    COMPARED,
    FIGURES,
    draw_groups,
    interval,
    measure_with_intervals,
    replicate,
    subtract,
)
from enrich.training.answers import CalibratedAnswers
from enrich.training.evaluation import measure_answers
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
    monkeypatch.setattr("enrich.analysis.bootstrap.CHUNK", 7 * ROWS)
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


Make = Callable[[int, int, int], CalibratedAnswers]
WHERE = {"checkpoint": "a", "source": "s", "condition": "as is", "attribute": "color"}


def test_record_holds_every_figure_within_its_interval(make_answers: Make) -> None:
    answers = make_answers(300, 4, 0)
    record, _ = measure_with_intervals(answers, draw_groups(150, replicates=200))
    assert measure_answers(answers).items() <= record.items()
    for figure in FIGURES:
        low, high = record[f"{figure}_interval"]
        assert low < record[figure] < high < low + 0.5
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_difference_is_paired_on_the_same_draws(make_answers: Make) -> None:
    answers, draws = make_answers(300, 4, 0), draw_groups(150, replicates=200)
    first = measure_with_intervals(answers, draws)
    # Sixteen of the wrong answers put right: certainly better, though the intervals overlap.
    probs, wrong = answers.probs.clone(), answers.probs.argmax(1) != answers.of.targets
    rows = wrong.nonzero().flatten()[:16]
    probs[rows] = torch.nn.functional.one_hot(answers.of.targets[rows], 4).float()
    better = measure_with_intervals(replace(answers, probs=probs), draws)

    difference = subtract(
        WHERE | better[0], better[1], WHERE | first[0] | {"checkpoint": "b"}, first[1]
    )
    assert difference.items() >= (WHERE | {"against": "b"}).items()
    assert difference["accuracy"] == pytest.approx(16 / 300, abs=2e-4)
    low, high = difference["accuracy_interval"]
    assert 0.02 < low < difference["accuracy"] < high < 0.1
    assert better[0]["accuracy_interval"][0] < first[0]["accuracy_interval"][1]


@pytest.mark.parametrize(("groups", "has_interval"), [(1, False), (19, False), (20, True)])
def test_a_handful_of_groups_gives_no_interval_and_so_no_difference_a_star(
    make_answers: Make, groups: int, has_interval: bool
) -> None:
    made = make_answers(60, 4, 0)
    answers = replace(made, of=replace(made.of, groups=torch.arange(60) % groups))
    # Of so many groups the others have no labelled row.
    record, replicates = measure_with_intervals(answers, draw_groups(100, replicates=50))
    again = subtract(WHERE | record, replicates, WHERE | record, replicates)
    for one in (record, again):
        for figure in COMPARED:
            assert (None not in one[f"{figure}_interval"]) == has_interval
            assert one[figure] is not None


@pytest.mark.parametrize(("answered", "has_interval"), [(0, False), (19, False), (20, True)])
def test_the_interval_of_a_precision_wants_groups_that_are_answered(
    make_answers: Make, answered: int, has_interval: bool
) -> None:
    made = make_answers(60, 4, 0)
    thresholds = torch.where(torch.arange(60) < answered, 0.0, torch.inf)
    of = replace(made.of, groups=torch.arange(60))
    answers = replace(made, of=of, thresholds={0.90: thresholds, 0.95: thresholds})
    record, _ = measure_with_intervals(answers, draw_groups(60, replicates=50))
    assert (None not in record["precision_at_90_threshold_interval"]) == has_interval
    assert None not in record["accuracy_interval"]


def test_bounds_that_no_draw_defines_are_null(make_answers: Make) -> None:
    # Of thirty groups twenty are labelled, and none of these draws holds one.
    made = make_answers(20, 3, 0)
    answers = replace(made, of=replace(made.of, groups=torch.arange(20)))
    draws = torch.ones(20, 30)
    draws[:, :20] = 0
    record, _ = measure_with_intervals(answers, draws)
    assert record["accuracy_interval"] == [None, None]
