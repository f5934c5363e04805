"""Figures, their intervals and differences, as plain values."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from enrich.comparison.bootstrap import COMPARED, FIGURES, draw_groups
from enrich.comparison.records import measure_with_intervals, subtract
from enrich.training.answers import CalibratedAnswers
from enrich.training.evaluation import measure_answers

Make = Callable[[int, int, int], CalibratedAnswers]
WHERE = {"checkpoint": "a", "shop": "s", "condition": "as is", "attribute": "color"}


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
