"""A temperature makes confidence honest; a threshold keeps its promise or is not given."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from thresholds import alike

from enrich.calibration import (
    CalibratedModalities,
    Calibration,
    Least,
    ScoreCorrection,
    list_never_answered,
)
from enrich.lexicon import Evidence
from enrich.records import Modalities
from enrich.training.calibration import LabelledLogits, fit, fit_temperatures, fitted_loss


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_of_overconfident_logits_is_recovered(temperature):
    torch.manual_seed(0)
    honest = 2 * torch.randn(20_000, 5)
    targets = torch.multinomial(honest.softmax(1), 1).squeeze(1)
    found, _ = fit_temperatures([LabelledLogits(honest * temperature, targets)])
    assert found == pytest.approx(temperature, rel=0.05)


def test_a_temperature_makes_the_given_answer_honest_whatever_the_other_labels_scores_are():
    torch.manual_seed(0)
    confidence = 0.5 + 0.45 * torch.rand(20_000)
    is_right = torch.rand(20_000) < confidence
    # Where the best label is wrong it is never the second, whose score says so.
    rest = 1 - confidence
    logits = torch.stack([confidence, 0.9 * rest, 0.1 * rest], 1).log()
    targets = torch.where(is_right, 0, 2)
    found, _ = fit_temperatures([LabelledLogits(logits, targets)])
    assert found == pytest.approx(1, rel=0.05)


def test_labels_that_were_never_learnt_do_not_silence_the_answers_to_all_others():
    torch.manual_seed(0)
    logits = 2 * torch.randn(400, 6)
    order = logits.argsort(1, descending=True)
    # Half are right. Of the others the label is the one that is thought of last.
    targets = torch.where(torch.arange(400) % 2 == 0, order[:, 0], order[:, -1])
    found, _ = fit_temperatures([LabelledLogits(logits, targets)])
    assert found < 5


def _half_from_pictures(rows):
    """Returns rows of which each second one is read from its picture.

    That one is surer of itself than it should be, by 3, the others less, by 0.5.
    """
    torch.manual_seed(0)
    honest = 2 * torch.randn(rows, 5)
    targets = torch.multinomial(honest.softmax(1), 1).squeeze(1)
    image_weight = (torch.arange(rows) % 2).float()
    scale = torch.where(image_weight > 0, 3.0, 0.5).unsqueeze(1)
    return LabelledLogits(honest * scale, targets, image_weight)


def test_rows_read_from_their_picture_get_a_temperature_of_their_own():
    from_text, from_picture = fit_temperatures([_half_from_pictures(20_000)])
    assert from_text == pytest.approx(0.5, rel=0.05)
    assert from_picture == pytest.approx(3.0, rel=0.05)


def test_few_rows_hardly_part_the_temperatures_of_texts_and_pictures():
    from_text, from_picture = fit_temperatures([_half_from_pictures(20)])
    # Six times as high, by thousands of such rows.
    assert from_picture is not None and 1 < from_picture / from_text < 3


def test_a_rare_condition_moves_temperatures_by_its_share_alone():
    often = _half_from_pictures(4_000)
    chance = replace(often, targets=torch.randint(0, 5, (4_000,)), share=0.01)
    assert fit_temperatures([often, chance]) == pytest.approx(fit_temperatures([often]), rel=0.1)


def test_the_loss_of_a_rare_condition_counts_by_its_share():
    often = replace(_half_from_pictures(400), image_weight=None)
    both = fitted_loss([often, replace(often, share=0.1)])
    assert both == pytest.approx(1.1 * fitted_loss([often]))


def test_few_labels_leave_each_temperature_near_the_checkpoint_s_own():
    own = CalibratedModalities(temperature=1, image_temperature=4, thresholds=alike(None), rows=9)
    torch.manual_seed(0)
    logits = 2 * torch.randn(4, 5)
    few = LabelledLogits(logits, logits.argmax(1).roll(1), torch.tensor([0.0, 1, 0, 1]))
    from_text, from_picture = fit_temperatures([few], own)
    assert from_picture is not None and from_picture > 2 * from_text


def test_temperature_without_rows_is_one_and_nothing_is_answered():
    nothing = fit([LabelledLogits(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))])
    assert nothing.temperature == 1.0 and nothing.rows == 0
    assert not nothing.ever_answers()


def test_temperature_stays_in_its_range_where_every_answer_is_right_or_chance():
    right = torch.eye(4).repeat(10, 1) * 5
    wrong = right.argmax(1).roll(1)
    # An image weight does not lead out of it.
    for weight in (None, torch.ones(40), torch.linspace(0, 1, 40)):
        for targets, end in ((right.argmax(1), 0.05), (wrong, 20)):
            both = fit_temperatures([LabelledLogits(right, targets, weight)])
            assert both == (pytest.approx(end, rel=0.01), None)


def _every_set(**changes):
    one = {"temperature": 1.0, "thresholds": alike(0.7), "rows": 9} | changes
    return {str(modalities): one for modalities in Modalities}


def test_an_unreachable_threshold_is_never_met():
    calibration = Calibration.model_validate({"attributes": {"color": _every_set()}})
    low, never = (
        calibration.thresholds(precision, {"color": ("red", "blue")})["color"][Modalities.TEXT]
        for precision in (0.90, 0.95)
    )
    assert low == Least(dict.fromkeys(Evidence, 0.7), (0.0, 0.0))
    assert never.by_evidence == dict.fromkeys(Evidence, math.inf)


@pytest.mark.parametrize(
    "broken",
    [
        _every_set(temperature=0),
        _every_set(thresholds={"0.90": alike(0.7)["0.90"]}),
        _every_set(thresholds=alike(0.7) | {"0.95": "high"}),
        _every_set(image_temperature=0),
        _every_set(image_temperatur=2.0),
        {str(Modalities.TEXT): _every_set()[Modalities.TEXT]},
    ],
    ids=[
        *("temperature of 0", "a threshold missing", "no number", "a picture's temperature of 0"),
        *("a key that nothing reads", "a set of modalities missing"),
    ],
)
def test_a_calibration_that_would_fail_at_inference_is_refused_when_read(broken):
    with pytest.raises(ValidationError):
        Calibration.model_validate({"attributes": {"color": broken}})


@pytest.mark.parametrize("matrix", ["weight", "embeds_weight"])
@pytest.mark.parametrize("rows", [[[1, 0]], [[1, 0], [0]]], ids=["a row missing", "uneven rows"])
def test_a_correction_whose_rows_do_not_fit_its_labels_is_refused_when_read(matrix, rows):
    with pytest.raises(ValidationError, match="one for each bias"):
        ScoreCorrection.model_validate({matrix: rows, "bias": [0, 0]})


def test_a_fit_answers_with_both_thresholds():
    torch.manual_seed(2)
    logits = 4 * torch.randn(5_000, 3)
    targets = torch.multinomial(logits.softmax(1), 1).squeeze(1)
    fitted = fit([LabelledLogits(logits, targets)])
    assert isinstance(fitted, CalibratedModalities) and fitted.rows == 5_000
    low, high = (fitted.thresholds[name][Evidence.SILENT] for name in ("0.90", "0.95"))
    assert low is not None and high is not None and 0 < low < high < 1


def test_an_answer_that_the_title_names_needs_less_confidence():
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(6_000, 3, generator=rng)
    best = logits.argmax(1)
    named = torch.zeros(6_000, 3, dtype=torch.bool)
    named[:3_000] = torch.eye(3, dtype=torch.bool)[best[:3_000]]
    drawn = torch.multinomial(logits.softmax(1), 1, generator=rng).squeeze(1)
    # What the title names is right in 19 of 20 whatever the confidence.
    is_right = torch.rand(3_000, generator=rng) < 0.95
    targets = torch.cat(
        [torch.where(is_right, best[:3_000], (best[:3_000] + 1) % 3), drawn[3_000:]]
    )
    thresholds = fit([LabelledLogits(logits, targets, named=named)]).thresholds["0.90"]
    named_by_title, silent = thresholds[Evidence.NAMED], thresholds[Evidence.SILENT]
    assert named_by_title is not None and silent is not None and named_by_title < silent - 0.2


@pytest.mark.parametrize(("contradicted", "is_given"), [(40, False), (400, True)])
def test_a_contradicted_answer_is_given_by_a_threshold_of_its_own_or_never(contradicted, is_given):
    rows = torch.arange(2_000)
    right = 8.0 * torch.eye(3)[rows % 3]
    named = torch.eye(3, dtype=torch.bool)[rows % 3]
    # These titles name another label than the answer, which is right.
    named[:contradicted] = named[:contradicted].roll(1, 1)
    found = fit([LabelledLogits(right, rows % 3, named=named)]).thresholds["0.90"]
    assert (found[Evidence.CONTRADICTED] is not None) == is_given
    assert found[Evidence.NAMED] is not None


def _answered(labelled, fitted):
    """Return the share of rows whose answers are given."""
    threshold = fitted.thresholds["0.90"][Evidence.SILENT]
    confidence = (labelled.logits / fitted.temperature).softmax(1).amax(1)
    return 0.0 if threshold is None else (confidence >= threshold).float().mean().item()


def test_of_a_rare_condition_a_tenth_counts_for_thresholds():
    torch.manual_seed(2)
    logits = 4 * torch.randn(5_000, 3)
    good = LabelledLogits(logits, torch.multinomial(logits.softmax(1), 1).squeeze(1))
    hopeless = replace(good, targets=torch.randint(0, 3, (5_000,)), share=0.3)
    of_others = replace(hopeless, groups=torch.arange(5_000, 10_000))
    alone, rare, rare_of_others, often_of_others = (
        _answered(good, fit([good, *more]))
        for more in ([], [hopeless], [of_others], [replace(of_others, share=1.0)])
    )
    assert alone > 0.8 and often_of_others == 0
    # Of the same products or of others.
    assert 0.4 < rare < alone - 0.2 and 0.4 < rare_of_others < alone - 0.2


def test_attributes_without_a_reachable_threshold_are_listed():
    never = dict.fromkeys(Evidence, math.inf)
    given = {
        "answered": Least(never | {Evidence.NAMED: 0.9}, (math.inf, 0.8)),
        "evidence": Least(never, (0.0, 0.0)),
        "labels": Least(dict.fromkeys(Evidence, 0.9), (math.inf, math.inf)),
    }
    sets = {name: dict.fromkeys(Modalities, least) for name, least in given.items()}
    sets["pictures"] = sets["evidence"] | {Modalities.IMAGE: given["answered"]}
    sets["words"] = sets["evidence"] | {Modalities.TEXT: given["answered"]}
    assert list_never_answered(sets) == ("evidence", "labels", "words")
