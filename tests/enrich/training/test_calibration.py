"""A threshold keeps its promise or is not given."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from enrich.calibration import shift_threshold
from enrich.certificates import bound_share
from enrich.training.calibration import find_floors, pick_threshold

World = tuple[np.ndarray, np.ndarray, np.ndarray]


def pick(confidence, is_right, precision=0.9):
    return pick_threshold(confidence, is_right, np.arange(len(confidence)), precision)


def make_world(kind, rows, rng):
    """Return confidence, rightness and groups of random answers."""
    groups = np.arange(rows) // (10 if kind == "grouped" else 1)
    sure = 0.5 + 0.5 * rng.beta(4, 1.2, rows)[groups]
    right = rng.random(rows)[groups] < (0.89 if kind == "uninformative" else sure)
    return sure + 1e-6 * rng.random(rows), right, groups


@pytest.mark.parametrize("kind", ["calibrated", "uninformative", "grouped"])
def test_a_threshold_misses_its_precision_in_one_of_ten_samples_at_most(kind):
    rng = np.random.default_rng(0)
    sure, right, _ = make_world(kind, 400_000, rng)
    missed = 0
    for _ in range(200):
        threshold = pick_threshold(*make_world(kind, 1_000, rng), 0.9)
        missed += threshold is not None and right[sure >= threshold].mean() < 0.9
    assert missed / 200 <= 0.1


@pytest.mark.parametrize(("rows", "share"), [(200, 0.57), (1_000, 0.885)])
def test_a_threshold_answers_nearly_what_the_best_one_would(rows, share):
    rng = np.random.default_rng(0)
    sure, right, _ = make_world("calibrated", 400_000, rng)
    order = np.argsort(-sure)
    holds = right[order].cumsum() >= 0.9 * np.arange(1, len(order) + 1)
    best = holds.nonzero()[0][-1] / len(order)
    found = [pick_threshold(*make_world("calibrated", rows, rng), 0.9) for _ in range(100)]
    answered = np.mean([0 if one is None else (sure >= one).mean() for one in found])
    assert answered / best > share


def test_wrong_labels_among_the_surest_do_not_end_the_search():
    rng = np.random.default_rng(0)
    sure, right, groups = make_world("calibrated", 4_000, rng)
    right &= rng.random(4_000) > 0.06
    threshold = pick_threshold(sure, right, groups, 0.9)
    assert threshold is not None
    assert (sure >= threshold).mean() > 0.15


def repeat(*counts, values):
    return np.repeat(values, counts)


@pytest.mark.parametrize(
    ("confidence", "is_right", "threshold"),
    [
        # What is more likely wrong than right is no answer.
        (repeat(1_000, 20, values=(0.9, 0.3)), np.arange(1_020) < 1_000, 0.9),
        (repeat(1_000, 20, values=(0.45, -0.15)), np.arange(1_020) < 1_000, None),
        (np.linspace(0, 1, 500), np.arange(500) % 2 == 0, None),
        (np.array([0.9, 0.8, 0.7]), np.full(3, True), None),
        # 60 right ones lead by luck of their order, but 40 wrong ones share their confidence.
        (np.full(100, 0.8), np.arange(100) < 60, None),
        (repeat(60, 100, values=(0.9, 0.8)), np.arange(160) < 120, 0.9),
    ],
    ids=["sure", "unsure", "never right enough", "a lucky handful", "equal", "equal below"],
)
def test_a_threshold_is_given_where_right_answers_prove_it(confidence, is_right, threshold):
    assert pick(confidence, is_right) == (threshold and pytest.approx(threshold))


def test_near_identical_products_are_one_piece_of_evidence():
    confidence, is_right = np.linspace(1, 0.9, 60), np.full(60, True)
    assert pick(confidence, is_right) is not None
    assert pick_threshold(confidence, is_right, np.arange(60) // 10, 0.9) is None


def test_a_score_orders_answers_and_a_low_confidence_is_never_given():
    score, confidence = np.linspace(5, -5, 200), np.repeat([0.9, 0.4], 100)
    found = pick_threshold(score, np.full(200, True), np.arange(200), 0.9, confidence)
    assert found == pytest.approx(score[99])


def test_a_label_that_is_often_wrong_has_a_floor_and_others_have_none():
    best = np.repeat([0, 1, 2], [300, 300, 5])
    confidence = np.concatenate([np.linspace(1, 0.6, 300), np.linspace(1, 0.6, 300), np.ones(5)])
    is_right = np.full(605, True)
    is_right[420:600:2] = False  # the second label's answers below 0.84
    rows = np.arange(605)
    floors = find_floors(confidence, is_right, best, np.full(605, 0.5), rows, 3, 0.9)
    assert floors[0] == 0 == floors[2]
    assert floors[1] is not None and 0.75 < floors[1] < 0.86
    never, half = np.full(100, False), np.zeros(100)
    sure, first = np.linspace(1, 0.6, 100), half.astype(int)
    assert find_floors(sure, never, first, half, np.arange(100), 1, 0.9) == (None,)
    # Ten groups of near-identical products are too few to tell.
    assert find_floors(sure, never, first, half, np.arange(100) // 10, 1, 0.9) == (0.0,)


def test_a_shift_moves_a_threshold_in_log_odds():
    assert shift_threshold(0.8, 0.0) == pytest.approx(0.8)
    assert shift_threshold(0.8, math.log(2)) == pytest.approx(8 / 9)
    assert shift_threshold(0.8, -9.0) == 0.5
    assert shift_threshold(math.inf, 1.0) == math.inf


@pytest.mark.parametrize("precision", [0.90, 0.95])
@pytest.mark.parametrize("rows", [300, 3_000])
def test_a_share_is_above_its_lower_bound_in_nine_of_ten_samples(precision, rows):
    hits = np.arange(rows + 1)
    holds = np.array([bound_share(int(one), rows, 0.1) <= precision for one in hits])
    assert 0.9 <= binom.pmf(hits, rows, precision) @ holds < 0.95
