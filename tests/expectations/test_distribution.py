"""Rules on distributions: what passes, what fails, and what the sentence says.

Bounds of chance are held against hand-computed figures and simulated runs.
"""

import numpy as np
import pytest

from expectations.counts import MovedCounts
from expectations.distribution import (
    CONFIDENCE_BINS,
    BaselineShares,
    Limit,
    bound_share,
    bound_shift,
    judge_confidences,
    judge_label_mix,
    judge_label_shares,
    judge_modalities,
    judge_moved,
    kolmogorov_distance,
    largest_shift,
    total_variation,
)
from schemas.labels import ABSTAINED

SHARES = {"black": 0.4, "red": 0.25, "blue": 0.15, "green": 0.1, ABSTAINED: 0.1}
SHOP = BaselineShares("shop", SHARES, 3_000)
LIMIT = Limit("max_label_shift", 0.1, 1e-4)


def counts(rows, **shifts):
    """Return the counts of a run whose shares differ from the expected ones."""
    named = {ABSTAINED if name == "none" else name: by for name, by in shifts.items()}
    return {name: round(rows * (share + named.get(name, 0))) for name, share in SHARES.items()}


def judge(rows, **shifts):
    return judge_label_shares(counts(rows, **shifts), SHOP, LIMIT)


@pytest.mark.parametrize("rows", [500, 5_000, 400_000])
def test_from_500_products_on_the_setting_is_the_limit(rows):
    assert judge(rows, blue=0.098, red=-0.098).passed
    found = judge(rows, blue=0.106, red=-0.106)
    assert (found.passed, found.allowance) == (False, 0)
    assert found.observed == pytest.approx(0.106)


def test_small_runs_are_allowed_what_chance_explains_and_this_is_told_apart():
    few = judge(40, blue=0.2, red=-0.2)
    assert few.passed and 0.1 < few.allowance < 0.25
    assert "allowed 10.0% (validation.max_label_shift) and" in few.detail
    assert "by chance in a run of this size" in few.detail
    assert not judge(40, blue=0.6, black=-0.4, red=-0.2).passed


def test_labels_that_are_gone_count_as_a_label():
    found = judge(500, none=0.15, black=-0.15)
    assert not found.passed
    assert found.detail.startswith("15.0% more without a label (25.0%, expected 10.0%), 15.0% less")
    assert found.grown == (ABSTAINED,)


def test_a_label_unknown_to_the_baseline_is_compared_with_none_of_it():
    found = judge_label_shares(counts(500, red=-0.2) | {"mauve": 100}, SHOP, LIMIT)
    assert not found.passed
    assert "20.0% more mauve (20.0%, expected 0.0%)" in found.detail


def test_many_small_shifts_fail_by_their_sum():
    shifts = {"black": -0.09, "red": -0.08, "blue": 0.09, "none": 0.08}
    assert judge(5_000, **shifts).passed
    found = judge_label_mix(
        counts(5_000, **shifts), SHOP, Limit("max_total_label_shift", 0.15, 1e-4)
    )
    assert (found.passed, found.observed) == (False, pytest.approx(0.17))
    assert found.detail.startswith("17.0% of 5,000 different products would need another label")
    assert set(found.grown) == {"blue", ABSTAINED}


@pytest.mark.parametrize(
    ("bins", "words", "grown"),
    [
        ({"0.5": 0.3, "1": 0.7}, "20.0% more of 1,000 different products have a", "0.1"),
        ({"0.5": 0.02, "1": 0.98}, "8.0% fewer of 1,000 different products have a", "0.6"),
    ],
)
def test_less_and_more_sure_classifiers_are_told_apart(bins, words, grown):
    expected = dict.fromkeys(CONFIDENCE_BINS, 0.0) | {"0.5": 0.1, "1": 0.9}
    found = judge_confidences(
        {name: round(1_000 * bins.get(name, 0)) for name in CONFIDENCE_BINS},
        BaselineShares("shop", expected, 3_000),
        Limit("max_confidence_shift", 0.05, 1e-4),
    )
    assert not found.passed
    assert found.detail.startswith(f"{words} confidence below 0.5 than the baseline 'shop'")
    assert found.grown[0] == grown


def test_answers_that_rest_on_other_modalities_are_counted():
    expected = BaselineShares("shop", {"image+text": 0.95, "text": 0.05}, 3_000)
    found = judge_modalities({"text": 500}, expected, Limit("max_modality_shift", 0.1, 1e-4))
    assert not found.passed
    assert found.detail.startswith("95.0% of 500 different products rest on other modalities")
    assert found.grown == ("text",)


@pytest.mark.parametrize(("compared", "moved", "passed"), [(500, 10, True), (500, 30, False)])
def test_moved_labels_are_reckoned_from_the_setting(compared, moved, passed):
    found = judge_moved(
        MovedCounts(compared, moved), "the same model_version", Limit("x", 0.02, 1e-3)
    )
    assert found.passed is passed
    assert 0 < found.allowance < 0.03
    assert f"{moved / compared:.1%} of 500 different products with unchanged" in found.detail


PROBABILITIES = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
STATISTICS = (largest_shift, total_variation, kolmogorov_distance)


@pytest.mark.parametrize(
    ("statistic", "found"),
    [
        (largest_shift, [0.3, 0.15]),
        (total_variation, [0.3, 0.2]),
        (kolmogorov_distance, [0.3, 0.2]),
    ],
)
def test_figures_of_shifted_shares(statistic, found):
    shifts = np.array([[0.3, -0.1, -0.2, 0.0], [-0.05, -0.15, 0.05, 0.15]])
    assert statistic(shifts) == pytest.approx(found)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("rows", [20, 100, 500])
def test_a_sound_run_exceeds_the_bound_as_seldom_as_stated(statistic, rows):
    alpha, runs = 0.01, 20_000
    rng = np.random.default_rng(1)
    counted = rng.multinomial(3_000, PROBABILITIES, 20) / 3_000
    exceeded = [
        statistic(rng.multinomial(rows, PROBABILITIES, runs // 20) / rows - baseline)
        > bound_shift(statistic, baseline, 3_000, rows, alpha)
        for baseline in counted
    ]
    # The draws differ from baseline to baseline; so does the true rate, around the stated one.
    assert 0.2 * alpha < np.mean(exceeded) < 2.5 * alpha


@pytest.mark.parametrize("statistic", STATISTICS)
def test_larger_runs_and_baselines_leave_less_to_chance(statistic):
    bounds = [
        bound_shift(statistic, PROBABILITIES, baseline, rows, 1e-4)
        for baseline, rows in ((300, 40), (3_000, 40), (3_000, 500), (3_000, 5_000))
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] > 0


def test_a_single_label_leaves_nothing_to_chance():
    assert bound_shift(largest_shift, np.ones(1), 100, 40, 1e-4) == 0


def test_a_label_that_the_baseline_never_saw_may_occur_once():
    bound = bound_shift(largest_shift, np.array([1.0, 0.0]), 50, 30, 0.01)
    assert 1 / 30 < bound < 0.5


@pytest.mark.parametrize(("rows", "bound"), [(1, 1.0), (4, 1.0), (100, 0.34), (100_000, 0.204)])
def test_few_rows_are_allowed_more_than_many(rows, bound):
    assert bound_share(0.2, rows, 0.001) == pytest.approx(bound, abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("rows", [1, 3, 40, 1_000])
def test_never_less_than_the_share_itself_is_allowed(share, rows):
    assert share <= bound_share(share, rows, 0.4) <= 1
