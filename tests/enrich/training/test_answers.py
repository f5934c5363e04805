"""Figures against examples worked out by hand."""

import pytest
import torch

from enrich.training.answers import (
    expected_calibration_error,
    macro_f1,
    measure,
    measure_thresholds,
    once,
    recall_at_precision,
)


def test_macro_f1_is_the_mean_over_labels_that_occur():
    targets = torch.tensor([0, 0, 0, 1, 1, 2])
    best = torch.tensor([0, 0, 1, 1, 3, 3])
    # 0: precision 1, recall 2/3; 1: 1/2 and 1/2; 2: never answered; 3 does not occur.
    assert macro_f1(best, targets, once(len(best))).item() == pytest.approx((0.8 + 0.5 + 0.0) / 3)


@pytest.mark.parametrize(
    ("confidence", "correct", "precision", "recall"),
    [
        # Best first: right, right, wrong, right, right. Precision 1, 1, 2/3, 3/4, 4/5.
        ([0.5, 0.9, 0.7, 0.8, 0.6], [1, 1, 0, 1, 1], 0.90, 2 / 5),
        ([0.5, 0.9, 0.7, 0.8, 0.6], [1, 1, 0, 1, 1], 0.80, 4 / 5),
        ([0.5, 0.9, 0.7, 0.8, 0.6], [0, 0, 1, 0, 0], 0.90, 0),
        # Rows of equal confidence are not parted.
        ([0.9, 0.8, 0.8], [1, 1, 0], 0.95, 1 / 3),
        ([0.9, 0.8, 0.8], [1, 0, 1], 0.95, 1 / 3),
    ],
)
def test_recall_at_precision_counts_right_answers_over_all_rows(
    confidence, correct, precision, recall
):
    right = torch.tensor(correct, dtype=torch.bool)
    found = recall_at_precision(torch.tensor(confidence), right, precision, once(len(right)))
    assert found.tolist() == pytest.approx([recall])


def test_calibration_error_is_the_mean_gap_over_bins():
    confidence = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0, 0.0])
    correct = torch.tensor([True, True, False, False, True, False, True, False])
    # Of fifteen bins: the last 4.8 against 3 right, the ninth 1.1 against 1, the first 0 against 0.
    wanted = (1.8 + 0.1 + 0.0) / 8
    assert expected_calibration_error(confidence, correct) == pytest.approx(wanted)
    # Gaps of opposite sign do not cancel across bins.
    both = expected_calibration_error(torch.tensor([0.9, 0.1]), torch.tensor([False, True]))
    assert both == pytest.approx(0.9)


def test_measure_reports_all_figures_of_its_rows():
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert measure(probs, torch.tensor([0, 1, 1])) == {
        "rows": 3,
        "accuracy": 0.6667,
        "macro_f1": 0.6667,
        "recall_at_90_precision": 0.6667,
        "recall_at_95_precision": 0.6667,
        "ece": pytest.approx((0.1 + 0.2 + 0.6) / 3, abs=1e-4),
    }
    assert measure(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)) == {"rows": 0}


def test_thresholds_are_each_row_s_own_and_count_what_reaches_them():
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    targets = torch.tensor([0, 0, 0, 1])
    lenient, own = torch.full((4,), 0.6), torch.tensor([0.95, 0.8, 0.5, 0.7])
    # Of all four the second is wrong; the first does not reach a threshold of 0.95.
    assert measure_thresholds(probs, targets, {0.90: lenient, 0.95: own}) == {
        "precision_at_90_threshold": 0.75,
        "answered_at_90_threshold": 1.0,
        "right_of_unsure_at_90_threshold": None,
        "precision_at_95_threshold": pytest.approx(2 / 3, abs=1e-4),
        "answered_at_95_threshold": 0.75,
        "right_of_unsure_at_95_threshold": 1.0,
    }
    # Nothing reaches it.
    never = {0.90: torch.full((2,), torch.inf)}
    assert measure_thresholds(torch.eye(2), torch.tensor([0, 1]), never) == {
        "precision_at_90_threshold": None,
        "answered_at_90_threshold": 0.0,
        "right_of_unsure_at_90_threshold": 1.0,
    }
