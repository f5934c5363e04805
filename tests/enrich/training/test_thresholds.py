"""A threshold keeps its promise or is not given."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from enrich.calibration import shift_threshold
from enrich.training.thresholds import bound_precision, find_floors, pick_threshold

World = tuple[np.ndarray, np.ndarray, np.ndarray]


def pick(confidence: np.ndarray, is_right: np.ndarray, precision: float = 0.9) -> float | None:
    return pick_threshold(confidence, is_right, np.arange(len(confidence)), precision)


def make_world(kind: str, rows: int, rng: np.random.Generator) -> World:
    """Return confidence, rightness and groups of random answers."""
    groups = np.arange(rows) // (10 if kind == "grouped" else 1)
    sure = 0.5 + 0.5 * rng.beta(4, 1.2, rows)[groups]
    right = rng.random(rows)[groups] < (0.89 if kind == "uninformative" else sure)
    return sure + 1e-6 * rng.random(rows), right, groups


@pytest.mark.parametrize("kind", ["calibrated", "uninformative", "grouped"])
def test_a_threshold_misses_its_precision_in_one_of_ten_samples_at_most(kind: str) -> None:
    rng = np.random.default_rng(0)
    sure, right, _ = make_world(kind, 400_000, rng)
    missed = 0
    for _ in range(200):
        threshold = pick_threshold(*make_world(kind, 1_000, rng), 0.9)
        missed += threshold is not None and right[sure >= threshold].mean() < 0.9
    assert missed / 200 <= 0.1


def test_a_threshold_answers_nearly_what_the_best_one_would() -> None:
    rng = np.random.default_rng(0)
    sure, right, _ = make_world("calibrated", 400_000, rng)
    order = np.argsort(-sure)
    holds = right[order].cumsum() >= 0.9 * np.arange(1, len(order) + 1)
    best = holds.nonzero()[0][-1] / len(order)
    found = [pick_threshold(*make_world("calibrated", 1_000, rng), 0.9) for _ in range(100)]
    answered = np.mean([0 if one is None else (sure >= one).mean() for one in found])
    assert answered / best > 0.83


def test_what_is_more_likely_wrong_than_right_is_no_answer() -> None:
    confidence = np.repeat([0.9, 0.3], [1_000, 20])
    is_right = np.repeat([True, False], [1_000, 20])
    assert pick(confidence, is_right) == pytest.approx(0.9)
    assert pick(confidence - 0.45, is_right) is None


def test_threshold_is_none_where_no_confidence_is_good_enough() -> None:
    assert pick(np.linspace(0, 1, 500), np.arange(500) % 2 == 0) is None


def test_a_lucky_handful_sets_no_threshold() -> None:
    assert pick(np.array([0.9, 0.8, 0.7]), np.full(3, True)) is None


def test_answers_of_equal_confidence_are_given_together_or_not_at_all() -> None:
    # 60 right ones lead by luck of their order, but 40 wrong ones share their confidence.
    confidence = np.full(100, 0.8)
    assert pick(confidence, np.arange(100) < 60) is None
    better = np.append(np.full(60, 0.9), confidence)
    is_right = np.append(np.full(60, True), np.arange(100) < 60)
    assert pick(better, is_right) == pytest.approx(0.9)


def test_near_identical_products_are_one_piece_of_evidence() -> None:
    confidence, is_right = np.linspace(1, 0.9, 60), np.full(60, True)
    assert pick(confidence, is_right) is not None
    assert pick_threshold(confidence, is_right, np.arange(60) // 10, 0.9) is None


def test_a_score_orders_answers_and_a_low_confidence_is_never_given() -> None:
    score, confidence = np.linspace(5, -5, 200), np.repeat([0.9, 0.4], 100)
    found = pick_threshold(score, np.full(200, True), np.arange(200), 0.9, confidence)
    assert found == pytest.approx(score[99])


def test_a_label_that_is_often_wrong_has_a_floor_and_others_have_none() -> None:
    best = np.repeat([0, 1, 2], [300, 300, 5])
    confidence = np.concatenate([np.linspace(1, 0.6, 300), np.linspace(1, 0.6, 300), np.ones(5)])
    is_right = np.full(605, True)
    is_right[420:600:2] = False  # the second label's answers below 0.84
    floors = find_floors(confidence, is_right, best, np.full(605, 0.5), 3, 0.9)
    assert floors[0] == 0 == floors[2]
    assert floors[1] is not None and 0.75 < floors[1] < 0.86


def test_a_label_that_is_never_right_is_never_answered() -> None:
    rows = 100
    floors = find_floors(
        np.linspace(1, 0.6, rows), np.full(rows, False), np.zeros(rows, int), np.zeros(rows), 1, 0.9
    )
    assert floors == (None,)


def test_a_shift_moves_a_threshold_in_log_odds() -> None:
    assert shift_threshold(0.8, 0.0) == pytest.approx(0.8)
    assert shift_threshold(0.8, math.log(2)) == pytest.approx(8 / 9)
    assert shift_threshold(0.8, -9.0) == 0.5
    assert shift_threshold(math.inf, 1.0) == math.inf


@pytest.mark.parametrize("precision", [0.90, 0.95])
@pytest.mark.parametrize("rows", [300, 3_000])
def test_a_share_is_above_its_lower_bound_in_nine_of_ten_samples(
    precision: float, rows: int
) -> None:
    hits = np.arange(rows + 1)
    holds = np.array([bound_precision(int(one), rows) <= precision for one in hits])
    assert 0.9 <= binom.pmf(hits, rows, precision) @ holds < 0.95
