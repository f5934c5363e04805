"""Statistical bounds: figures against hand-computed ones, bounds against simulated runs."""

import numpy as np
import pytest

from expectations import distribution as chance

SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
STATISTICS = (chance.largest_shift, chance.total_variation, chance.kolmogorov_distance)


@pytest.mark.parametrize(
    ("statistic", "found"),
    [
        (chance.largest_shift, [0.3, 0.15]),
        (chance.total_variation, [0.3, 0.2]),
        (chance.kolmogorov_distance, [0.3, 0.2]),
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
    counted = rng.multinomial(3_000, SHARES, 20) / 3_000
    exceeded = [
        statistic(rng.multinomial(rows, SHARES, runs // 20) / rows - baseline)
        > chance.bound_shift(statistic, baseline, 3_000, rows, alpha)
        for baseline in counted
    ]
    # The draws differ from baseline to baseline; so does the true rate, around the stated one.
    assert 0.2 * alpha < np.mean(exceeded) < 2.5 * alpha


@pytest.mark.parametrize("statistic", STATISTICS)
def test_larger_runs_and_baselines_leave_less_to_chance(statistic):
    bounds = [
        chance.bound_shift(statistic, SHARES, baseline, rows, 1e-4)
        for baseline, rows in ((300, 40), (3_000, 40), (3_000, 500), (3_000, 5_000))
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] > 0


def test_a_single_label_leaves_nothing_to_chance():
    assert chance.bound_shift(chance.largest_shift, np.ones(1), 100, 40, 1e-4) == 0


def test_a_label_that_the_baseline_never_saw_may_occur_once():
    bound = chance.bound_shift(chance.largest_shift, np.array([1.0, 0.0]), 50, 30, 0.01)
    assert 1 / 30 < bound < 0.5


@pytest.mark.parametrize(("rows", "bound"), [(1, 1.0), (4, 1.0), (100, 0.34), (100_000, 0.204)])
def test_few_rows_are_allowed_more_than_many(rows, bound):
    assert chance.bound_share(0.2, rows, 0.001) == pytest.approx(bound, abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("rows", [1, 3, 40, 1_000])
def test_never_less_than_the_share_itself_is_allowed(share, rows):
    assert share <= chance.bound_share(share, rows, 0.4) <= 1
