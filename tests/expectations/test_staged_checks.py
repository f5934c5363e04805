"""The checks of staged rows on figures without Spark: what passes, what blocks, what is said."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from drawn_answers import join, make_answers

from expectations.baseline import LabelBaseline
from expectations.checks import Check, share_out
from expectations.drill.in_arrays import build_baseline, check_answers, count_answers
from expectations.drill.label_faults import give_to_others, rename_labels, stick_to_commonest
from expectations.figures import ConfidenceFigures, StagedFigures
from expectations.settings import ValidationSettings
from expectations.staged_checks import check_staged
from expectations.summary import OTHER
from schemas.labels import ABSTAINED

REDDER = {"red": 0.9, "blue": 0.1}
LABELS = {"color": ("red", "blue", "green"), "style": ("casual", "formal")}


def check(
    figures: StagedFigures,
    baseline: LabelBaseline | None = None,
    *,
    rows: int | None = None,
    **settings: object,
) -> list[Check]:
    return check_staged(
        figures,
        LABELS,
        baseline,
        expected_rows=figures.rows if rows is None else rows,
        settings=ValidationSettings.model_validate(settings),
    )


def blocking(checks: list[Check]) -> set[tuple[str | None, str]]:
    return {(one.attribute, one.expectation) for one in checks if one.blocks}


def find(checks: list[Check], expectation: str, attribute: str | None = "color") -> Check:
    return next(
        one for one in checks if (one.expectation, one.attribute) == (expectation, attribute)
    )


@pytest.mark.parametrize("rows", [1, 2, 40, 500, 5_000])
def test_sound_run_of_any_size_passes(baseline: LabelBaseline, rows: int) -> None:
    checks = check(count_answers(make_answers(rows)), baseline)
    assert [one.finding for one in checks if not one.passed] == []


@pytest.mark.parametrize(("rows", "blocks"), [(5, False), (40, True), (40_000, True)])
def test_attribute_stuck_on_one_label_blocks_as_soon_as_chance_does_not_explain_it(
    baseline: LabelBaseline, rows: int, blocks: bool
) -> None:
    stuck = stick_to_commonest(make_answers(rows), "color")
    # Red is 40 % of the colors, so 40 red products in a row are no chance; 5 are.
    tolerant = check(count_answers(stuck), baseline, max_divergence=0)
    found = ("color", "expect_label_distribution_near_baseline") in blocking(tolerant)
    assert found == blocks


def test_half_the_labels_gone_blocks_and_is_told(baseline: LabelBaseline) -> None:
    shares = {"red": 0.2, "blue": 0.1, "green": 0.1, ABSTAINED: 0.6}
    checks = check(count_answers(make_answers(5_000, color_shares=shares)), baseline)
    assert blocking(checks) == {("color", "expect_label_distribution_near_baseline")}
    finding = find(checks, "expect_label_distribution_near_baseline").finding
    assert finding.startswith("label distribution of 5,000 different products is 0.3")
    assert "from the baseline 'drill' (KL), allowed 0.1" in finding
    assert f"{ABSTAINED} 0.2" in finding


def test_permuted_labels_block(baseline: LabelBaseline) -> None:
    renamed = rename_labels(make_answers(5_000), "color")
    assert blocking(check(count_answers(renamed), baseline)) == {
        ("color", "expect_label_distribution_near_baseline")
    }


def test_less_sure_classifier_blocks_though_labels_stay(baseline: LabelBaseline) -> None:
    checks = check(count_answers(make_answers(5_000, sureness=3)), baseline)
    assert blocking(checks) == {
        (attribute, "expect_confidence_distribution_near_baseline") for attribute in LABELS
    }
    assert not find(checks, "expect_answered_confidence_near_baseline").passed


def test_lost_images_block(baseline: LabelBaseline) -> None:
    checks = check(count_answers(make_answers(40, text_only=1.0)), baseline)
    assert blocking(checks) == {(None, "expect_modalities_near_baseline")}
    assert "image+text 0.9" in find(checks, "expect_modalities_near_baseline", None).finding


def test_answers_given_to_other_products_block_by_agreement_alone(baseline: LabelBaseline) -> None:
    sound = make_answers(5_000)
    shuffled = give_to_others(sound, np.random.default_rng(0))
    assert blocking(check(count_answers(shuffled), baseline)) == set()
    assert blocking(check(count_answers(shuffled, before=sound), baseline)) == {
        (attribute, "expect_agreement_with_published") for attribute in LABELS
    }


def test_category_is_looked_at_alone_where_it_is_large_enough() -> None:
    shoes, shirts = make_answers(2_000, category="shoes"), make_answers(2_000, category="shirts")
    baseline = build_baseline(join(shoes, shirts))
    broken = stick_to_commonest(make_answers(150, seed=3, category="shoes"), "color")
    run = join(broken, make_answers(4_000, seed=4, category="shirts"))
    checks = check_answers(run, baseline, ValidationSettings())
    assert {(one.category, one.expectation) for one in checks if one.blocks} == {
        ("shoes", "expect_label_distribution_near_baseline")
    }
    few = check_answers(run, baseline, ValidationSettings(min_category_rows=200))
    assert not [one for one in few if one.blocks or one.category == "shoes"]


def test_categories_that_are_counted_together_are_not_looked_at_as_one() -> None:
    shoes, others = make_answers(2_000, category="shoes"), make_answers(2_000, category=OTHER)
    answers = join(shoes, others)
    checks = check_answers(answers, build_baseline(answers), ValidationSettings())
    assert {one.category for one in checks} == {None, "shoes"}


def test_slack_makes_every_comparison_within_a_category_more_lenient_and_no_other() -> None:
    answers = make_answers(2_000, category="shoes")
    baseline = build_baseline(answers)
    strict, lenient = (
        check_answers(answers, baseline, ValidationSettings(category_slack=slack))
        for slack in (1, 2)
    )
    pairs = [*zip(strict, lenient, strict=True)]
    assert {one.expectation for one, _ in pairs if one.category == "shoes"} == {
        "expect_label_distribution_near_baseline",
        "expect_confidence_distribution_near_baseline",
        "expect_modalities_near_baseline",
    }
    for one, other in pairs:
        assert (one.threshold < other.threshold) == (one.category == "shoes"), one


@pytest.mark.parametrize("counted", [3, 10, 300])
def test_a_baseline_with_few_products_of_a_category_lets_no_run_through_that_is_full_of_it(
    counted: int,
) -> None:
    shirts = make_answers(6_000, seed=1, category="shirts")
    baseline = build_baseline(join(shirts, make_answers(counted, seed=2, category=OTHER)))
    without_images = make_answers(3_000, seed=3, category=OTHER, text_only=1.0)
    run = join(without_images, make_answers(7_000, seed=4, category="shirts"))
    checks = check_answers(run, baseline, ValidationSettings())
    assert (None, "expect_modalities_near_baseline") in blocking(checks)


def test_lost_images_of_a_category_are_told_of_it_and_nothing_of_a_category_only_warns() -> None:
    shoes, shirts = make_answers(2_000, category="shoes"), make_answers(2_000, category="shirts")
    without_images = make_answers(150, seed=3, category="shoes", text_only=1.0)
    run = join(without_images, make_answers(4_000, seed=4, category="shirts"))
    checks = check_answers(run, build_baseline(join(shoes, shirts)), ValidationSettings())
    assert {(one.category, one.expectation) for one in checks if one.blocks} == {
        ("shoes", "expect_modalities_near_baseline")
    }
    warnings = [(one.attribute, one.expectation) for one in checks if one.severity == "warning"]
    assert len(warnings) == len(set(warnings)) == 2 * len(LABELS)


def test_what_moved_most_is_told_first_and_not_what_is_most(baseline: LabelBaseline) -> None:
    shares = {"red": 0.38, "blue": 0.42, ABSTAINED: 0.2}
    checks = check(count_answers(make_answers(5_000, color_shares=shares)), baseline)
    _, _, shifts = find(checks, "expect_few_labels_moved").finding.partition("largest shifts: ")
    assert [shift.split()[0] for shift in shifts.split(", ")] == ["blue", "green", "red"]


@pytest.mark.parametrize("others", [0, 1])
def test_a_single_row_of_another_model_is_not_the_baseline_s(
    baseline: LabelBaseline, others: int
) -> None:
    figures = count_answers(make_answers(500))
    mixed = {"model-1": 500 - others, "model-2": others} if others else {"model-1": 500}
    checks = check(dataclasses.replace(figures, model_versions=mixed), baseline)
    assert find(checks, "expect_baseline_of_same_model", None).blocks == bool(others)


def test_drift_from_a_baseline_of_the_same_model_blocks_where_one_of_another_model_would_warn(
    baseline: LabelBaseline,
) -> None:
    less_sure = count_answers(make_answers(5_000, sureness=3))
    found = blocking(check(less_sure, baseline, baseline_of_other_model="warn"))
    assert found == blocking(check(less_sure, baseline)) != set()


def test_baseline_of_another_model_blocks_unless_it_is_allowed(baseline: LabelBaseline) -> None:
    moved = count_answers(make_answers(5_000, sureness=3, model_version="model-2"))
    checks = check(moved, baseline)
    refused = find(checks, "expect_baseline_of_same_model", None)
    assert refused.blocks
    assert "model-2" in refused.finding and "model-1" in refused.finding
    assert "--run-id" in refused.finding
    allowed = check(moved, baseline, baseline_of_other_model="warn")
    assert blocking(allowed) == set()
    assert sum(not one.passed for one in allowed) > 2


def test_what_another_model_left_open_does_not_let_this_one_leave_more_open() -> None:
    rarely = {"red": 0.2, ABSTAINED: 0.8}
    baseline = build_baseline(make_answers(3_000, seed=1, color_shares=rarely))
    hardly = {"red": 0.03, ABSTAINED: 0.97}
    night = make_answers(2_000, color_shares=hardly, model_version="model-2")
    checks = check(count_answers(night), baseline, baseline_of_other_model="warn")
    assert blocking(checks) == {("color", "expect_abstained_share_below")}
    finding = find(checks, "expect_abstained_share_below").finding
    assert finding.endswith("(validation.max_abstained_share)")


@pytest.mark.parametrize(("rows", "is_asked"), [(1, False), (4, False), (5, True)])
def test_a_mean_confidence_is_asked_of_products_whose_mean_says_something(
    baseline: LabelBaseline, rows: int, is_asked: bool
) -> None:
    # All of them are answered, and far from the mean.
    unsure = make_answers(rows, color_shares={"red": 1.0}, sureness=0.01)
    asked = {one.expectation for one in check(count_answers(unsure), baseline)}
    assert ("expect_answered_confidence_near_baseline" in asked) == is_asked


@pytest.mark.parametrize(
    ("setting", "expectation", "answers"),
    [
        ("max_divergence", "expect_label_distribution_near_baseline", {"color_shares": REDDER}),
        ("max_confidence_shift", "expect_confidence_distribution_near_baseline", {"sureness": 3}),
        ("max_modality_shift", "expect_modalities_near_baseline", {"text_only": 1.0}),
        ("max_label_shift", "expect_few_labels_moved", {"color_shares": REDDER}),
        ("max_mean_confidence_shift", "expect_answered_confidence_near_baseline", {"sureness": 3}),
    ],
)
def test_each_setting_is_the_tolerance_of_one_expectation(
    setting: str, expectation: str, answers: dict[str, Any]
) -> None:
    baseline = build_baseline(make_answers(3_000, seed=1))
    run = make_answers(5_000, **answers)

    def failed(**settings: float) -> set[str]:
        checks = check_answers(run, baseline, ValidationSettings.model_validate(settings))
        return {one.expectation for one in checks if not one.passed}

    assert failed() - failed(**{setting: 1}) == {expectation}


def test_false_alarms_are_shared_out_evenly() -> None:
    rates: list[float] = []
    share_out([rates.append] * 4, 0.002)
    assert rates == [0.0005] * 4


def test_thresholds_follow_the_false_alarms_that_are_allowed(baseline: LabelBaseline) -> None:
    figures = count_answers(make_answers(500))
    name = "expect_label_distribution_near_baseline"
    strict = find(check(figures, baseline, false_alarm_rate=0.1), name)
    lenient = find(check(figures, baseline, false_alarm_rate=0.0001), name)
    assert strict.threshold < lenient.threshold


def test_without_a_baseline_values_are_still_checked() -> None:
    figures = count_answers(make_answers(300))
    odd = {**figures.confidences, "color": ConfidenceFigures(3, 2, 0.1, 1.0)}
    assert blocking(check(dataclasses.replace(figures, confidences=odd))) == {
        ("color", "expect_confidence_present"),
        ("color", "expect_confidence_in_unit_interval"),
    }


def test_constant_confidence_blocks_unless_products_are_few() -> None:
    constant = {"color": ConfidenceFigures(0, 0, 0.75, 0.75)}
    for rows, blocks in ((19, False), (20, True)):
        figures = count_answers(make_answers(rows))
        odd = dataclasses.replace(figures, confidences=figures.confidences | constant)
        assert (("color", "expect_confidence_to_vary") in blocking(check(odd))) == blocks


def test_a_classifier_that_is_very_sure_is_none_that_always_says_the_same() -> None:
    figures = count_answers(make_answers(100))
    for lowest, highest, blocks in (
        (0.9999, 0.99999, False),
        (0.5, 0.502, False),
        (0.99999, 0.99999, True),
        (1.0, 1.0, True),
    ):
        sure = figures.confidences | {"color": ConfidenceFigures(0, 0, lowest, highest)}
        found = blocking(check(dataclasses.replace(figures, confidences=sure)))
        assert (("color", "expect_confidence_to_vary") in found) == blocks


@pytest.mark.parametrize(("labels", "blocks"), [(("red",), False), (("red", "blue"), True)])
def test_a_classifier_that_knows_one_label_alone_may_always_be_certain_of_it(
    labels: tuple[str, ...], blocks: bool
) -> None:
    figures = count_answers(make_answers(100, color_shares={"red": 1.0}))
    certain = figures.confidences | {"color": ConfidenceFigures(0, 0, 1.0, 1.0)}
    checks = check_staged(
        dataclasses.replace(figures, confidences=certain),
        LABELS | {"color": labels},
        None,
        expected_rows=100,
        settings=ValidationSettings(),
    )
    assert blocking(checks) == ({("color", "expect_confidence_to_vary")} if blocks else set())


def test_unknown_label_blocks_in_the_smallest_run_and_is_named() -> None:
    checks = check(count_answers(make_answers(1, color_shares={"crimson": 1.0})))
    assert blocking(checks) == {("color", "expect_known_labels")}
    assert find(checks, "expect_known_labels").finding == (
        "1 rows hold a label unknown to the checkpoint ('crimson')"
    )


def test_attribute_that_is_hardly_ever_answered_blocks() -> None:
    figures = count_answers(make_answers(500, color_shares={"red": 0.02, ABSTAINED: 0.98}))
    assert blocking(check(figures)) == {("color", "expect_abstained_share_below")}
    assert not blocking(check(figures, max_abstained_share=0.98))
    finding = find(check(figures), "expect_abstained_share_below").finding
    assert finding.endswith("(validation.max_abstained_share)")


def test_an_attribute_that_a_reviewed_baseline_hardly_ever_answers_need_not_be_answered() -> None:
    rare = {"red": 0.03, ABSTAINED: 0.97}
    bags = make_answers(1_000, seed=1, category="bags", color_shares=rare)
    baseline = build_baseline(join(bags, make_answers(1_000, seed=2, category="shirts")))
    rarer = {"red": 0.02, ABSTAINED: 0.98}
    night = make_answers(5_000, seed=3, category="bags", color_shares=rarer)
    assert blocking(check_answers(night, baseline, ValidationSettings())) == set()
    shirts = make_answers(500, seed=3, category="shirts", color_shares=rare)
    blocked = check_answers(shirts, baseline, ValidationSettings())
    assert ("color", "expect_abstained_share_below") in blocking(blocked)
    finding = find(blocked, "expect_abstained_share_below").finding
    told = r"\(validation\.max_abstained_share, of the [78]\d\.\d% that the baseline answers\)$"
    assert re.search(told, finding)


def test_a_category_of_which_the_baseline_has_few_is_not_looked_at_alone() -> None:
    shirts = make_answers(2_000, seed=1, category="shirts")
    baseline = build_baseline(join(shirts, make_answers(30, seed=2, category="hats")))
    night = make_answers(400, seed=3, category="hats")
    checks = check_answers(night, baseline, ValidationSettings(min_category_rows=100))
    assert {one.category for one in checks} == {None}


@pytest.mark.parametrize("expected_rows", [300, 0])
def test_no_row_blocks_whatever_was_expected(expected_rows: int) -> None:
    empty = StagedFigures(0, 0, {}, None, {}, {})
    assert blocking(check(empty, rows=expected_rows)) == {(None, "expect_all_rows_staged")}


def test_lost_and_repeated_rows_block() -> None:
    figures = count_answers(make_answers(299))
    assert blocking(check(figures, rows=300)) == {(None, "expect_all_rows_staged")}
    repeated = dataclasses.replace(figures, distinct_products=298)
    assert blocking(check(repeated)) == {(None, "expect_one_row_per_product")}


def test_attribute_that_the_baseline_lacks_is_compared_to_nothing(baseline: LabelBaseline) -> None:
    only_style = {"style": baseline.products.attributes["style"]}
    products = baseline.products.model_copy(update={"attributes": only_style})
    checks = check(
        count_answers(make_answers(5_000, color_shares={"red": 1.0})),
        baseline.model_copy(update={"products": products}),
    )
    assert blocking(checks) == set()
    assert {one.attribute for one in checks if "baseline" in one.expectation} == {None, "style"}


def test_answers_without_a_usable_confidence_block_beside_a_baseline_too(
    baseline: LabelBaseline,
) -> None:
    figures = count_answers(make_answers(50))
    assert figures.summary is not None
    color = figures.summary.products.attributes["color"]
    unsaid = color.model_copy(
        update={
            "confidences": (0,) * len(color.confidences),
            "answered_mean": None,
            "answered_sd": None,
        }
    )
    attributes = {**figures.summary.products.attributes, "color": unsaid}
    products = figures.summary.products.model_copy(update={"attributes": attributes})
    summary = figures.summary.model_copy(update={"products": products})
    confidences = {**figures.confidences, "color": ConfidenceFigures(50, 0, None, None)}
    broken = dataclasses.replace(figures, summary=summary, confidences=confidences)
    assert ("color", "expect_confidence_present") in blocking(check(broken, baseline))
