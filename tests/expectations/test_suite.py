"""Which expectations a run is held against, and what the settings add to them."""

import re
from pathlib import Path

import pytest
import yaml
from drawn_answers import LABELS, join, make_answers, relabel

from bench.gate_runs import Answers, Reason, build_baseline, count_answers, find_reasons
from enrich.errors import ConfigError
from enrich.images.store import ImageSample
from expectations.gate import check_images
from expectations.settings import ValidationSettings
from expectations.suite import build_candidates_suite, build_further, build_input_suite

SETTINGS = ValidationSettings()


def types(answers, baseline, **settings):
    suite = build_candidates_suite(
        ValidationSettings.model_validate(settings),
        LABELS,
        baseline,
        count_answers(answers),
        len(answers.rows),
    )
    return [one.expectation_type for one in suite]


def reasons(answers, baseline, **settings):
    return set(find_reasons(answers, baseline, ValidationSettings.model_validate(settings)))


@pytest.mark.parametrize("rows", [1, 20, 40, 500, 5_000])
def test_sound_run_of_any_size_passes(baseline, rows):
    assert reasons(make_answers(rows), baseline) == set()


def test_fifteen_percent_of_the_answers_are_found_at_500_products(baseline):
    faults = {"color": "blue", "style": "formal"}
    for attribute, label in faults.items():
        found = reasons(relabel(make_answers(500), attribute, label, 0.15), baseline)
        assert Reason("expect_label_shares_near_baseline", attribute, None) in found


def test_a_less_sure_classifier_and_lost_images_are_found_though_labels_stay(baseline):
    assert reasons(make_answers(5_000, sureness=3), baseline) == {
        Reason("expect_confidences_near_baseline", attribute, None) for attribute in LABELS
    }
    assert reasons(make_answers(40, text_only=1.0), baseline) == {
        Reason("expect_modalities_near_baseline", None, None)
    }


def test_answers_of_other_products_are_found_by_published_labels_alone(baseline):
    sound = make_answers(5_000)
    given = Answers(sound.rows.sample(frac=1, random_state=0), before=sound.rows)
    assert reasons(Answers(given.rows), baseline) == set()
    assert reasons(given, baseline) == {
        Reason("expect_labels_to_agree_with_published", attribute, None) for attribute in LABELS
    }


def test_category_is_looked_at_alone_where_it_is_large_enough():
    shoes, shirts = make_answers(2_000, category="shoes"), make_answers(2_000, category="shirts")
    baseline = build_baseline(join(shoes, shirts))
    broken = relabel(make_answers(150, seed=3, category="shoes"), "color", "red")
    run = join(broken, make_answers(4_000, seed=4, category="shirts"))
    found = reasons(run, baseline)
    assert Reason("expect_label_shares_near_baseline", "color", "shoes") in found
    assert {one.category for one in found} == {"shoes"}
    assert reasons(run, baseline, min_category_rows=200) == set()


def test_run_of_one_category_is_compared_with_that_category():
    red = make_answers(2_000, color_shares={"red": 1.0}, category="shoes")
    blue = make_answers(2_000, seed=1, color_shares={"blue": 1.0}, category="shirts")
    baseline = build_baseline(join(red, blue))
    run = join(red.take(range(50)), blue.take(range(2)))  # type: ignore[arg-type]
    assert reasons(run, baseline) == set()


def test_few_products_and_unknown_catalogs_are_compared_with_nothing(baseline):
    of_baseline = "expect_label_shares_near_baseline"
    assert of_baseline in types(make_answers(20), baseline)
    assert of_baseline not in types(make_answers(19), baseline)
    assert of_baseline not in types(make_answers(500), None)
    assert "expect_known_labels" in types(make_answers(1), None)
    assert "expect_confidence_to_vary" not in types(make_answers(19), None)


@pytest.mark.parametrize(("is_unseen", "severity"), [(True, "warning"), (False, "critical")])
def test_few_labels_are_expected_in_an_unseen_source(is_unseen, severity):
    counts = count_answers(make_answers(500))
    suite = build_candidates_suite(SETTINGS, LABELS, None, counts, 500, is_unseen=is_unseen)
    abstained = [one for one in suite if one.expectation_type == "expect_abstained_share_below"]
    assert {str(one.severity.value) for one in abstained} == {severity}


def test_false_alarms_are_shared_out_among_the_checks(baseline):
    counts = count_answers(make_answers(500))
    suite = build_candidates_suite(SETTINGS, LABELS, baseline, counts, 500)
    alphas = [one.alpha for one in suite if hasattr(one, "alpha")]
    abstained = [one for one in suite if one.expectation_type == "expect_abstained_share_below"]
    assert len(set(alphas)) == 1
    assert alphas[0] * (len(alphas) + len(abstained)) == pytest.approx(SETTINGS.false_alarm_rate)


def test_empty_product_table_has_nothing_to_check():
    assert build_input_suite(SETTINGS, 0, 0) == []
    only_ids = [one.expectation_type for one in build_input_suite(SETTINGS, 10, 0)]
    assert only_ids == ["expect_product_ids_present", "expect_product_ids_unique"]


@pytest.mark.parametrize(("tried", "outcomes"), [(4, []), (19, []), (20, ["fail"])])
def test_a_quiet_night_is_not_blocked_by_a_few_products_without_photos(tried, outcomes):
    checks = check_images(ImageSample(tried, 0, "no such file"), SETTINGS)
    assert [str(one.outcome) for one in checks] == outcomes
    assert len(build_input_suite(SETTINGS, 100, tried)) == 2 + len(outcomes)


def settings_with(*modules, **expectation):
    return ValidationSettings.model_validate(
        {"expectations": [expectation], "expectation_modules": modules}
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"type": "expect_column_values_to_not_be_nul", "column": "color"},
            "validation.expectations[0] has an unknown type: found "
            "'expect_column_values_to_not_be_nul', expected expect_column_values_to_not_be_null or",
        ),
        (
            {"type": "expect_column_values_to_not_be_null", "colum": "color"},
            "validation.expectations[0], expect_column_values_to_not_be_null, is not valid: ",
        ),
        (
            {"type": "expect_column_values_to_not_be_null", "column": "color", "mostly": 5},
            "less than or equal to 1",
        ),
    ],
)
def test_wrong_expectation_is_refused_in_great_expectations_words(wrong, words):
    with pytest.raises(ConfigError) as refused:
        build_further(settings_with(**wrong))
    assert words in str(refused.value)


def test_module_that_cannot_be_imported_is_named():
    with pytest.raises(ConfigError, match="'no_such_module' cannot be imported"):
        build_further(settings_with("no_such_module", type="expect_table_row_count_to_equal"))


def test_the_documented_module_of_ones_own_is_known_and_judges(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
    (module,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "shop_checks.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    settings = [
        ValidationSettings.model_validate(yaml.safe_load(block)["validation"])
        for block in re.findall(r"```yaml\n(validation:.*?)```", text, re.DOTALL)
    ]
    builtin, (sure, party) = (build_further(one) for one in settings)
    assert [one.column for one in builtin] == ["color", "style_confidence"]
    assert (sure.column, sure.min_value) == ("color_confidence", 0.7)
    finding = party.judge(count_answers(make_answers(50)))
    assert (finding.passed, party.max_share) == (True, 0.1)


@pytest.mark.parametrize("value", [True, 1.5, -0.1, "much"])
def test_settings_that_are_not_shares_are_refused(value):
    with pytest.raises(ValueError, match="max_label_shift"):
        ValidationSettings.model_validate({"max_label_shift": value})
