"""A temperature makes confidence honest; a threshold keeps its promise or is not given."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import binom

from enrich.calibration import CalibratedModalities, Calibration, ScoreCorrection
from enrich.records import Modalities
from enrich.training.calibration import (
    LabelledLogits,
    fit,
    fit_temperatures,
    fitted_loss,
    pick_threshold,
    wilson_lower_bound,
)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_of_overconfident_logits_is_recovered(temperature: float) -> None:
    torch.manual_seed(0)
    honest = 2 * torch.randn(20_000, 5)
    targets = torch.multinomial(honest.softmax(1), 1).squeeze(1)
    found, _ = fit_temperatures([LabelledLogits(honest * temperature, targets)])
    assert found == pytest.approx(temperature, rel=0.05)


def test_a_temperature_makes_the_given_answer_honest_whatever_the_other_labels_scores_are() -> None:
    torch.manual_seed(0)
    confidence = 0.5 + 0.45 * torch.rand(20_000)
    is_right = torch.rand(20_000) < confidence
    # Where the best label is wrong it is never the second, whose score says so.
    rest = 1 - confidence
    logits = torch.stack([confidence, 0.9 * rest, 0.1 * rest], 1).log()
    targets = torch.where(is_right, 0, 2)
    found, _ = fit_temperatures([LabelledLogits(logits, targets)])
    assert found == pytest.approx(1, rel=0.05)


def test_labels_that_were_never_learnt_do_not_silence_the_answers_to_all_others() -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(400, 6)
    order = logits.argsort(1, descending=True)
    # Half are right. Of the others the label is the one that is thought of last.
    targets = torch.where(torch.arange(400) % 2 == 0, order[:, 0], order[:, -1])
    found, _ = fit_temperatures([LabelledLogits(logits, targets)])
    assert found < 5


def _half_from_pictures(rows: int) -> LabelledLogits:
    """Returns rows of which each second one is read from its picture.

    That one is surer of itself than it should be, by 3, the others less, by 0.5.
    """
    torch.manual_seed(0)
    honest = 2 * torch.randn(rows, 5)
    targets = torch.multinomial(honest.softmax(1), 1).squeeze(1)
    image_weight = (torch.arange(rows) % 2).float()
    scale = torch.where(image_weight > 0, 3.0, 0.5).unsqueeze(1)
    return LabelledLogits(honest * scale, targets, image_weight)


def test_rows_read_from_their_picture_get_a_temperature_of_their_own() -> None:
    from_text, from_picture = fit_temperatures([_half_from_pictures(20_000)])
    assert from_text == pytest.approx(0.5, rel=0.05)
    assert from_picture == pytest.approx(3.0, rel=0.05)


def test_few_rows_hardly_part_the_temperatures_of_texts_and_pictures() -> None:
    from_text, from_picture = fit_temperatures([_half_from_pictures(20)])
    # Six times as high, by thousands of such rows.
    assert from_picture is not None and 1 < from_picture / from_text < 3


def test_a_rare_condition_moves_temperatures_by_its_share_alone() -> None:
    often = _half_from_pictures(4_000)
    chance = replace(often, targets=torch.randint(0, 5, (4_000,)), share=0.01)
    assert fit_temperatures([often, chance]) == pytest.approx(fit_temperatures([often]), rel=0.1)


def test_the_loss_of_a_rare_condition_counts_by_its_share() -> None:
    often = replace(_half_from_pictures(400), image_weight=None)
    both = fitted_loss([often, replace(often, share=0.1)])
    assert both == pytest.approx(1.1 * fitted_loss([often]))


def test_few_labels_leave_each_temperature_near_the_checkpoint_s_own() -> None:
    own = CalibratedModalities(
        temperature=1, image_temperature=4, thresholds={"0.90": None, "0.95": None}, rows=9
    )
    torch.manual_seed(0)
    logits = 2 * torch.randn(4, 5)
    few = LabelledLogits(logits, logits.argmax(1).roll(1), torch.tensor([0.0, 1, 0, 1]))
    from_text, from_picture = fit_temperatures([few], own)
    assert from_picture is not None and from_picture > 2 * from_text


@pytest.mark.parametrize("precision", [0.90, 0.95])
@pytest.mark.parametrize("rows", [300, 3_000])
def test_a_share_is_above_its_lower_bound_in_nine_of_ten_samples(
    precision: float, rows: int
) -> None:
    hits = torch.arange(rows + 1, dtype=torch.double)
    holds = wilson_lower_bound(hits, torch.full_like(hits, rows)).numpy() <= precision
    assert binom.pmf(hits, rows, precision) @ holds == pytest.approx(0.9, abs=0.02)


def test_what_is_more_likely_wrong_than_right_is_no_answer() -> None:
    confidence = torch.cat([torch.full((1_000,), 0.9), torch.full((20,), 0.3)])
    correct = torch.cat([torch.ones(1_000), torch.zeros(20)]).bool()
    assert pick_threshold(confidence, correct, 0.9) == pytest.approx(0.9)
    assert pick_threshold(confidence - 0.45, correct, 0.9) is None


def test_temperature_without_rows_is_one_and_nothing_is_answered() -> None:
    nothing = fit([LabelledLogits(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))])
    assert nothing.temperature == 1.0 and nothing.rows == 0
    assert nothing.thresholds == {"0.90": None, "0.95": None}


def test_temperature_stays_in_its_range_where_every_answer_is_right_or_chance() -> None:
    right = torch.eye(4).repeat(10, 1) * 5
    wrong = right.argmax(1).roll(1)
    # An image weight does not lead out of it.
    for weight in (None, torch.ones(40), torch.linspace(0, 1, 40)):
        for targets, end in ((right.argmax(1), 0.05), (wrong, 20)):
            both = fit_temperatures([LabelledLogits(right, targets, weight)])
            assert both == (pytest.approx(end, rel=0.01), None)


def test_threshold_holds_its_precision_on_rows_it_has_not_seen() -> None:
    torch.manual_seed(1)
    confidence = torch.rand(20_000)
    correct = torch.rand(20_000) < confidence
    for precision in (0.90, 0.95):
        threshold = pick_threshold(confidence[:10_000], correct[:10_000], precision)
        assert threshold is not None and threshold < 0.95
        answered = confidence[10_000:] >= threshold
        assert correct[10_000:][answered].double().mean() >= precision - 0.01


def test_threshold_is_the_lowest_that_holds() -> None:
    confidence = torch.linspace(1, 0.5, 1_001)
    correct = torch.arange(1_001) < 900
    threshold = pick_threshold(confidence, correct, 0.90)
    # All rows would be right in 900 of 1001; the lower bound admits fewer than 1000, more than 900.
    assert threshold is not None and 0.5 < threshold < 0.55


def test_threshold_is_none_where_no_confidence_is_good_enough() -> None:
    confidence = torch.linspace(0, 1, 500)
    assert pick_threshold(confidence, torch.arange(500) % 2 == 0, 0.90) is None


def test_a_lucky_handful_sets_no_threshold() -> None:
    confidence, correct = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, True, True])
    assert pick_threshold(confidence, correct, 0.90) is None


def test_rows_of_equal_confidence_are_answered_together_or_not_at_all() -> None:
    # 60 right ones lead by luck of their order, but 40 wrong ones share their confidence.
    confidence = torch.full((100,), 0.8)
    assert pick_threshold(confidence, torch.arange(100) < 60, 0.90) is None
    better = torch.cat([torch.full((60,), 0.9), confidence])
    correct = torch.cat([torch.ones(60, dtype=torch.bool), torch.arange(100) < 60])
    assert pick_threshold(better, correct, 0.90) == pytest.approx(0.9)


def test_one_article_whose_colors_are_wrong_counts_with_each_of_them() -> None:
    """40 single products are right; of one article's 30 colors, which count as one, half are."""
    confidence = torch.cat([torch.linspace(0.99, 0.95, 40), torch.linspace(0.9, 0.8, 30)])
    is_right = torch.cat([torch.ones(40), torch.arange(30) % 2]).bool()
    evidence = torch.cat([torch.ones(40), torch.full((30,), 1 / 30)])
    threshold = pick_threshold(confidence, is_right, 0.90, evidence)
    assert threshold is not None
    assert is_right[confidence >= threshold].double().mean() >= 0.90


def _every_set(**changes: object) -> dict[str, dict[str, object]]:
    one = {"temperature": 1.0, "thresholds": {"0.90": 0.7, "0.95": None}, "rows": 9} | changes
    return {str(modalities): one for modalities in Modalities}


def test_an_unreachable_threshold_is_never_met() -> None:
    calibration = Calibration.model_validate({"attributes": {"color": _every_set()}})
    assert calibration.thresholds(0.90)["color"][Modalities.TEXT] == 0.7
    assert calibration.thresholds(0.95)["color"][Modalities.TEXT] == math.inf


@pytest.mark.parametrize(
    "broken",
    [
        _every_set(temperature=0),
        _every_set(thresholds={"0.90": 0.7}),
        _every_set(thresholds={"0.90": 0.7, "0.95": "high"}),
        _every_set(image_temperature=0),
        _every_set(image_temperatur=2.0),
        {str(Modalities.TEXT): _every_set()[Modalities.TEXT]},
    ],
    ids=[
        *("temperature of 0", "a threshold missing", "no number", "a picture's temperature of 0"),
        *("a key that nothing reads", "a set of modalities missing"),
    ],
)
def test_a_calibration_that_would_fail_at_inference_is_refused_when_read(
    broken: dict[str, dict[str, object]],
) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate({"attributes": {"color": broken}})


@pytest.mark.parametrize("matrix", ["weight", "embeds_weight"])
@pytest.mark.parametrize("rows", [[[1, 0]], [[1, 0], [0]]], ids=["a row missing", "uneven rows"])
def test_a_correction_whose_rows_do_not_fit_its_labels_is_refused_when_read(
    matrix: str, rows: list[list[float]]
) -> None:
    with pytest.raises(ValidationError, match="one for each bias"):
        ScoreCorrection.model_validate({matrix: rows, "bias": [0, 0]})


def test_a_fit_answers_with_both_thresholds() -> None:
    torch.manual_seed(2)
    logits = 4 * torch.randn(5_000, 3)
    targets = torch.multinomial(logits.softmax(1), 1).squeeze(1)
    fitted = fit([LabelledLogits(logits, targets)])
    assert isinstance(fitted, CalibratedModalities) and fitted.rows == 5_000
    low, high = fitted.thresholds["0.90"], fitted.thresholds["0.95"]
    assert low is not None and high is not None and 0 < low < high < 1


@pytest.mark.parametrize(("share", "guarded"), [(1.0, True), (0.3, False)])
def test_a_condition_without_a_threshold_counts_only_where_it_is_guarded(
    share: float, guarded: bool
) -> None:
    torch.manual_seed(2)
    logits = 4 * torch.randn(2_000, 3)
    good = LabelledLogits(logits, torch.multinomial(logits.softmax(1), 1).squeeze(1))
    hopeless = LabelledLogits(logits, torch.randint(0, 3, (2_000,)), share=share)
    thresholds = fit([good, hopeless]).thresholds
    assert (thresholds["0.90"] is None) == guarded


def test_a_few_lucky_rows_of_a_rare_condition_take_no_answers_from_the_others() -> None:
    torch.manual_seed(2)
    logits = 4 * torch.randn(2_000, 3)
    good = LabelledLogits(logits, torch.multinomial(logits.softmax(1), 1).squeeze(1))
    # Right where it is surest of all, in one of twenty rows, and else by chance.
    surest = logits.softmax(1).amax(1).topk(100).indices
    targets = torch.randint(0, 3, (2_000,))
    targets[surest] = logits[surest].argmax(1)
    lucky = LabelledLogits(logits, targets, share=0.3)
    alone, beside = fit([good]).thresholds["0.90"], fit([good, lucky]).thresholds["0.90"]
    # Temperatures are fitted to both.
    assert alone is not None and beside is not None and beside < alone


def test_a_threshold_is_stricter_where_an_unguarded_condition_asks_for_it() -> None:
    torch.manual_seed(2)
    logits = 4 * torch.randn(5_000, 3)
    targets = torch.multinomial(logits.softmax(1), 1).squeeze(1)
    noisy = targets.clone()
    noisy[:600] = torch.randint(0, 3, (600,))
    alone = fit([LabelledLogits(logits, targets)]).thresholds["0.90"]
    beside = fit(
        [LabelledLogits(logits, targets), LabelledLogits(logits, noisy, share=0.3)]
    ).thresholds["0.90"]
    assert alone is not None and beside is not None and beside > alone


def test_a_rare_condition_may_miss_the_target_by_a_hair() -> None:
    # The classifier is surer of the first 600 rows: 95 % of these are right, of all not quite 90 %.
    margin = torch.cat([torch.full((600,), 3.0), torch.full((1_400,), 1.1)])
    logits, number = torch.stack([margin, torch.zeros(2_000)], dim=1), torch.arange(2_000)
    is_wrong = number % torch.where(number < 600, 20, 8) == 0
    right = LabelledLogits(logits, torch.zeros_like(number))
    fitted = fit([right, LabelledLogits(logits, is_wrong.long(), share=0.3)])
    lowest = torch.tensor(1.1 / fitted.temperature).sigmoid().item()
    assert fitted.thresholds["0.90"] == pytest.approx(lowest, abs=1e-4)
