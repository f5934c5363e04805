"""Formulas of the gate: figures against hand-computed ones, thresholds against simulated chance."""

import numpy as np
import pytest

from expectations import chance

# Rates of 2,000 draws; three standard errors of 1 % are 0.7 %.
DRAWS, ALPHA, SLACK = 2_000, 0.01, 0.007


def test_equal_shares_do_not_diverge() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    assert chance.kl_divergence(shares * 1000, shares, 1e9) == pytest.approx(0, abs=1e-6)
    assert chance.total_variation(shares * 1000, shares) == pytest.approx(0)
    assert chance.kolmogorov_distance(shares * 1000, shares) == pytest.approx(0)


def test_divergence_is_in_nats_and_of_the_run_from_the_baseline() -> None:
    found = chance.kl_divergence(np.array([90.0, 10.0]), np.array([0.5, 0.5]), 1e9)
    assert found == pytest.approx(0.9 * np.log(1.8) + 0.1 * np.log(0.2), abs=1e-6)


def test_a_label_unseen_in_the_baseline_is_expected_of_half_a_row_of_it() -> None:
    found = chance.kl_divergence(np.array([0.0, 9.0]), np.array([1.0, 0.0]), 99)
    assert found == pytest.approx(np.log(100 / 0.5))


def test_label_absent_from_the_run_counts_in_the_others() -> None:
    found = chance.kl_divergence(np.array([80.0, 0.0]), np.array([0.8, 0.2]), 1e9)
    assert found == pytest.approx(-np.log(0.8), abs=1e-6)


def test_total_variation_is_the_share_that_would_have_to_move() -> None:
    assert chance.total_variation(np.array([7.0, 3.0]), np.array([0.4, 0.6])) == pytest.approx(0.3)


def test_kolmogorov_distance_sees_a_shift_to_the_next_bin_less_than_one_to_the_last() -> None:
    near = chance.kolmogorov_distance(np.array([0.0, 10, 0, 0]), np.array([0.5, 0.5, 0, 0]))
    far = chance.kolmogorov_distance(np.array([0.0, 0, 5, 5]), np.array([0.5, 0.5, 0, 0]))
    assert (near, far) == (pytest.approx(0.5), pytest.approx(1.0))


@pytest.mark.parametrize("tilt", [0.0, 0.55])
@pytest.mark.parametrize("rows", [500, 5_000])
def test_shift_of_the_tolerance_is_refused_as_seldom_as_stated(tilt: float, rows: int) -> None:
    rng = np.random.default_rng(0)
    expected = np.full(18, 1 / 18)
    moved = expected * np.exp(tilt * np.linspace(-1, 1, 18))
    moved /= moved.sum()
    tolerance = float(np.sum(moved * np.log(moved / expected)))
    allowed = chance.allowed_divergence(tolerance, rows, 3000, 18, ALPHA)
    refused = [
        chance.kl_divergence(
            rng.multinomial(rows, moved), rng.multinomial(3000, expected) / 3000, 3000
        )
        > allowed
        for _ in range(DRAWS)
    ]
    assert np.mean(refused) == pytest.approx(ALPHA, abs=SLACK)


def test_bounds_of_total_variation_and_kolmogorov_distance_hold() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    variation = chance.allowed_total_variation(0.0, 200, 300, shares, ALPHA)
    distance = chance.allowed_kolmogorov_distance(0.0, 200, 300, ALPHA)
    over_variation = over_distance = 0
    for _ in range(DRAWS):
        run, baseline = rng.multinomial(200, shares), rng.multinomial(300, shares) / 300
        over_variation += chance.total_variation(run, baseline) > variation
        over_distance += chance.kolmogorov_distance(run, baseline) > distance
    assert over_variation / DRAWS <= ALPHA + SLACK
    assert over_distance / DRAWS <= ALPHA + SLACK


def test_total_variation_is_allowed_by_its_mean_and_the_rest_and_no_more() -> None:
    fair = np.array([0.5, 0.5])
    # Of 200 products one of two equal shares has a standard deviation of 0.0354.
    allowed = chance.allowed_total_variation(0.1, 200, 1e12, fair, ALPHA)
    assert allowed == pytest.approx(0.1 + 0.0354 + np.sqrt(np.log(1 / ALPHA) / 400), abs=1e-4)


def test_share_above_one_by_rounding_still_has_a_threshold() -> None:
    found = chance.allowed_total_variation(0.1, 40, 800, np.array([1 + 2e-16, 0.0]), ALPHA)
    assert found == pytest.approx(chance.allowed_total_variation(0.1, 40, 800, np.ones(1), ALPHA))


def test_mean_may_shift_by_what_chance_explains() -> None:
    rng = np.random.default_rng(0)
    allowed = chance.allowed_mean_shift(0.0, 100, 300, 0.2, ALPHA)
    shifts = np.abs(
        rng.normal(0, 0.2, (DRAWS, 100)).mean(1) - rng.normal(0, 0.2, (DRAWS, 300)).mean(1)
    )
    assert np.mean(shifts > allowed) == pytest.approx(ALPHA, abs=SLACK)


def test_share_of_few_rows_is_allowed_more_than_that_of_many() -> None:
    assert chance.allowed_share(0.2, 1, 0.001) == 1.0
    assert chance.allowed_share(0.2, 4, 0.001) == 1.0
    assert chance.allowed_share(0.2, 100, 0.001) == pytest.approx(0.34, abs=0.03)
    assert chance.allowed_share(0.2, 100_000, 0.001) == pytest.approx(0.204, abs=0.002)


def test_required_share_mirrors_the_allowed_one() -> None:
    assert chance.required_share(0.98, 1000, 0.001) == pytest.approx(0.966, abs=0.002)
    assert chance.required_share(0.98, 3, 0.001) < 0.5


@pytest.mark.parametrize("rows", [1, 40, 500, 40_000])
def test_more_rows_are_allowed_less_and_never_less_than_the_tolerance(rows: int) -> None:
    here = chance.allowed_divergence(0.1, rows, 3000, 10, 1e-4)
    assert 0.1 < chance.allowed_divergence(0.1, 10 * rows, 3000, 10, 1e-4) < here
