"""Runs are drawn from known answers, and how often the gate stops one is a share of them."""

import pyarrow as pa
import pytest
from drawn_answers import join, make_answers

from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill.answers import group_categories, read_answers
from expectations.drill.in_arrays import check_answers
from expectations.drill.label_faults import build_label_faults
from expectations.drill.measures import is_good, name_reason
from expectations.drill.runs import (
    is_stopped,
    measure_detection,
    measure_false_alarms,
    measure_false_alarms_by_category,
)
from expectations.settings import ValidationSettings
from expectations.summary import OTHER
from schemas.labels import ABSTAINED

SETTINGS = ValidationSettings()
LABELS = ("color", "style")
FAULTS = ("stuck", "labels_permuted")


def test_answers_of_a_table_have_a_label_for_what_was_not_answered() -> None:
    table = pa.table(
        {
            "product_id": ["1", "2"],
            "color": ["red", None],
            "color_confidence": pa.array([0.75, 0.5], pa.float32()),
            "modalities": ["image+text", None],
        }
    )
    answers = read_answers("model-1", table)
    assert answers.labels["color"].tolist() == ["red", ABSTAINED]
    assert answers.confidences["color"].tolist() == [0.75, 0.5]
    assert answers.modalities.tolist() == ["image+text", "none"]
    assert answers.labels.keys() == {"color"} and answers.categories is None


def test_small_and_absent_categories_are_grouped() -> None:
    grouped = group_categories(["shoes", "hats", None, "shoes"], min_share=0.5)
    assert grouped.tolist() == ["shoes", OTHER, OTHER, "shoes"]


def test_sound_runs_are_not_stopped_and_those_of_an_intolerant_gate_are() -> None:
    sound = join(make_answers(400, category="shoes"), make_answers(200, seed=1, category="hats"))
    assert measure_false_alarms(sound, 100, 300, 5, SETTINGS) == 0
    by_category = measure_false_alarms_by_category(sound, (20, 100), 300, 4, SETTINGS)
    assert by_category == {20: 0, 100: 0}
    strict = ValidationSettings(max_divergence=0, max_confidence_shift=0, false_alarm_rate=0.999)
    assert measure_false_alarms(sound, 100, 300, 5, strict) > 0.5
    assert measure_false_alarms_by_category(sound, (100,), 300, 4, strict)[100] > 0


def test_every_label_fault_is_a_case_that_is_found(baseline: LabelBaseline) -> None:
    sound = make_answers(5_000)
    assert not is_stopped(check_answers(sound, baseline, SETTINGS))
    cases = build_label_faults(sound)
    rates = {
        name: measure_detection(case, 5_000, baseline, 3, SETTINGS) for name, case in cases.items()
    }
    faults = [f"{attribute}_{fault}" for attribute in LABELS for fault in FAULTS]
    assert rates == dict.fromkeys([*faults, "answers_of_others"], 1)


@pytest.mark.parametrize("shares", [{ABSTAINED: 1.0}, {"casual": 0.98, ABSTAINED: 0.02}])
def test_an_attribute_of_one_label_has_no_label_faults(shares: dict[str, float]) -> None:
    # Stuck on it, or with its list in another order, it says what it said.
    cases = build_label_faults(make_answers(500, color_shares=shares))
    assert list(cases) == ["style_stuck", "style_labels_permuted", "answers_of_others"]


def test_drill_fails_by_one_fault_that_is_not_always_found_and_by_false_alarms() -> None:
    assert is_good(0.0, {"images_missing": 1.0, "swapped_channels": 1.0})
    assert not is_good(0.0, {"images_missing": 1.0, "swapped_channels": 0.95})
    assert not is_good(0.5, {"images_missing": 1.0})


def test_a_reason_names_the_attribute_and_the_check_in_words() -> None:
    name = "expect_label_distribution_near_baseline"
    of_hats = Check(name, 1, "rule", "finding", at_most=0, attribute="color", category="hats")
    assert name_reason(of_hats) == "color in category hats label distribution"
    assert name_reason(Check("expect_all_rows_staged", 1, "r", "f", at_most=0)) == "all rows staged"
