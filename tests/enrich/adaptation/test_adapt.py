"""Labels of a shop change answers where that is surely better; some labels are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adaptations import make_answers
from cases import is_full
from thresholds import alike

from enrich.adaptation.checkpoint import (
    adapt_attribute,
    find_flaw,
    summarise,
    to_table,
    with_effects,
)
from enrich.adaptation.readings import Readings
from enrich.adaptation.scores import (
    FOLDS,
    compose,
    deal_folds,
    leave_scores,
    weigh_anew,
    with_correction,
)
from enrich.adaptation.trial import calibrate_held_out, measure_gain
from enrich.calibration import CalibratedModalities, Calibration
from enrich.classifiers.calibrated import Layer, to_layer
from enrich.lexicon import Evidence
from enrich.records import Modalities
from enrich.training.answers import Answers, CalibratedAnswers

LABELS, ROWS, WIDTH = 5, 300, 8
THRESHOLDS = alike(0.05)
ONES, OF_TEXT = torch.tensor([WIDTH, 2 * WIDTH + 1]), torch.arange(WIDTH + 1, 2 * WIDTH + 2)


def _calibration(temperature=1.0, thresholds=None):
    calibrated = CalibratedModalities(
        temperature=temperature, thresholds=thresholds or THRESHOLDS, rows=100
    )
    return Calibration(attributes={"color": dict.fromkeys(Modalities, calibrated)})


def _readings(*, swapped, scale=1.0, images=ROWS, rows=ROWS, seed=0):
    """Labels drawn from what the classifier believes; a shop may call label 0 by the name of 1.

    The embeddings say nothing.
    """
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, LABELS, generator=random)
    targets = logits.softmax(1).multinomial(1, generator=random).squeeze(1)
    if swapped:
        targets[targets == 0] = 1
    both = Answers(
        product=torch.arange(rows),
        groups=torch.arange(rows),
        modalities=[Modalities.IMAGE_AND_TEXT] * rows,
        logits=scale * logits,
        embeds=torch.randn(rows, 2 * WIDTH + 2, generator=random).index_fill(1, ONES, 1),
        targets=targets,
        image_weight=torch.full((rows,), 0.5),
        named=torch.zeros(rows, LABELS, dtype=torch.bool),
    )
    some = torch.arange(rows) < images
    image = replace(
        both.where(some),
        modalities=[Modalities.IMAGE] * images,
        embeds=both.embeds[some].index_fill(1, OF_TEXT, 0),
        image_weight=torch.ones(images),
    )
    none = torch.zeros(rows, dtype=torch.bool)
    return [both, image, both.where(none)]


def _adapt(readings, calibration=None, groups=None, weighed=None):
    """Adapts color; without `groups` no product is near-identical to another."""
    if groups is None:
        groups = torch.arange(len(readings[0]))
    grouped = [replace(one, groups=groups[one.product]) for one in readings]
    return adapt_attribute(
        Readings(grouped, weighed or {}), deal_folds(groups), calibration or _calibration(), "color"
    )


def _correct_by(effect, reading):
    return reading.corrected(to_layer(effect.correction)).logits


def _mix(both, image_logits, trust=1.5):
    """The answers of a classifier that mixes the logits of pictures and `both`'s, of the texts."""

    def mix(shift):
        weight = torch.full((len(both),), trust + shift).sigmoid()
        return torch.lerp(both.logits, image_logits, weight.unsqueeze(1)), weight

    logits, weight = mix(0.0)
    weighed = {shift: mix(shift) for shift in (-4.0, -3.0, -2.0, -1.0, 1.0, 2.0)}
    return replace(both, logits=logits, image_weight=weight), weighed


def _draw_logits(seed):
    return 3 * torch.randn(ROWS, LABELS, generator=torch.Generator().manual_seed(seed))


def test_a_shop_may_want_both_another_modality_bias_and_a_correction():
    """Its texts are right but weigh a fifth, and it calls label 0 by the name of 1."""
    both, image, text = _readings(swapped=True)
    as_it_is, weighed = _mix(both, _draw_logits(1))
    effect = _adapt([as_it_is, image, text], weighed=weighed)
    assert effect.is_better and effect.bias_shift in (-4.0, -3.0)
    assert effect.after["accuracy"] > effect.before["accuracy"] + 0.2
    unseen = _readings(swapped=True, seed=7)[0]
    _, weighed_unseen = _mix(unseen, _draw_logits(8))
    logits, _ = weighed_unseen[effect.bias_shift]
    answers = _correct_by(effect, replace(unseen, logits=logits)).argmax(1)
    right = (answers == unseen.targets).float().mean()
    assert right > (logits.argmax(1) == unseen.targets).float().mean() + 0.05
    assert effect.after["accuracy"] == pytest.approx(right.item(), abs=0.08)


@pytest.mark.parametrize("seed", [0, 1, 2] if is_full() else [2])
def test_a_bias_that_a_few_labels_favour_by_a_hair_is_not_taken(seed):
    """Pictures and texts tell about as much: the likelihood of the labels is nearly flat."""
    both, image, text = _readings(swapped=False, rows=60, images=60, seed=seed)
    random = torch.Generator().manual_seed(seed)
    alike = both.logits + 0.3 * torch.randn(60, LABELS, generator=random)
    as_it_is, weighed = _mix(both, alike, trust=0.0)
    assert _adapt([as_it_is, image, text], weighed=weighed).bias_shift == 0.0


def test_a_temperature_that_is_right_already_stays_beside_another_that_is_not():
    """Of pictures alone a new one is worse by a hair, which took all that is gained from both."""
    both, image, text = _readings(swapped=False)
    effect = _adapt([replace(both, logits=4 * both.logits), image, text])
    assert effect.is_better
    assert effect.calibrated[Modalities.IMAGE_AND_TEXT].temperature > 2
    alone = effect.calibrated[Modalities.IMAGE]
    assert alone.temperature == 1.0 and alone.rows == ROWS
    answered = CalibratedAnswers.by(image, effect.calibrated)
    confidence, best = answered.probs.max(1)
    is_given = confidence >= alone.thresholds["0.90"][Evidence.SILENT]
    assert is_given.float().mean() > 0.2, "its threshold rests on pictures, not on both"
    assert (best == image.targets)[is_given].float().mean() > 0.88


def test_confidence_that_is_too_high_is_lowered_and_no_answer_changes():
    effect = _adapt(_readings(swapped=False, scale=3.0))
    assert effect.is_better
    assert effect.after["ece"] < 0.08 < 0.16 < effect.before["ece"]
    assert effect.after["accuracy"] == effect.before["accuracy"]
    for modalities in (Modalities.IMAGE_AND_TEXT, Modalities.IMAGE):
        assert effect.calibrated[modalities].temperature > 1.5


@pytest.mark.parametrize("seed", [3, 4] if is_full() else [3])
def test_a_correction_that_gains_no_more_than_temperatures_alone_is_not_made(seed):
    """Four times the confidence that is due: a correction lowers it too, and changes answers."""
    readings = _readings(swapped=False, scale=4.0, rows=60, images=60, seed=seed)
    effect = _adapt(readings)
    unseen = _readings(swapped=False, scale=4.0, rows=2_000, seed=5)[0]
    answers = _correct_by(effect, unseen).argmax(1)
    assert effect.is_better and answers.equal(unseen.logits.argmax(1))


def test_a_correction_that_makes_pictures_alone_worse_is_not_made():
    """Where the shop means 1, the classifier says 0; but read from its picture, anything but 0."""
    both, image, text = _readings(swapped=True)
    random = torch.Generator().manual_seed(1)
    logits = 3 * torch.nn.functional.one_hot(image.targets, LABELS)
    logits = logits + torch.randn(ROWS, LABELS, generator=random)
    logits[:, 0] += torch.where(image.targets == 1, -2, 2)
    readings = [both, replace(image, logits=logits), text]
    effect = _adapt(readings)
    answers = _correct_by(effect, both).argmax(1)
    assert answers.equal(both.logits.argmax(1)), "new temperatures alone are the next best"
    assert effect.is_better and effect.gains[Modalities.IMAGE].mean > 0


def test_products_of_a_single_text_are_no_reason_to_stop():
    readings = _readings(swapped=True)
    effect = _adapt(readings, groups=torch.zeros(ROWS, dtype=torch.long))
    assert not effect.is_better, "nothing can be held out"


def test_labels_by_chance_change_no_figure_for_the_better():
    """Every answer was given, nearly all of them wrong: lower confidence is better, and silent."""
    random = torch.randint(0, LABELS, (ROWS,), generator=torch.Generator().manual_seed(1))
    readings = _readings(swapped=False)
    effect = _adapt([replace(one, targets=random[one.product]) for one in readings])
    # What is fitted to noise is not believed on the products that it was fitted to.
    assert effect.after["accuracy"] < 0.3
    never = dict.fromkeys(("0.90", "0.95"), dict.fromkeys(Evidence))
    assert effect.calibrated[Modalities.IMAGE_AND_TEXT].thresholds == never
    assert effect.given == 0 and not effect.loses_answers


@pytest.mark.parametrize(("corrected", "is_added"), [(False, False), (True, True)])
def test_held_out_labels_have_no_say_in_how_their_products_are_answered(corrected, is_added):
    base = _calibration().attributes["color"]
    fold_of = deal_folds(torch.arange(100))
    held_out = fold_of == 0
    readings = _readings(swapped=True, rows=100, images=100)
    others = [
        replace(one, targets=(one.targets + held_out[one.product].long()) % LABELS)
        for one in readings
    ]
    # What pictures say agrees with the other labels: with these they would count more.
    seen = 8 * torch.nn.functional.one_hot(others[0].targets, LABELS).float()
    image_logits = seen.where(held_out.unsqueeze(1), readings[0].logits)

    def weigh(readings):
        as_it_is, weighed = _mix(readings[0], image_logits, trust=0.0)
        return weigh_anew(Readings([as_it_is, *readings[1:]], weighed), fold_of, base, None)

    def answer(readings):
        scoring = weigh(readings)
        if corrected:
            scoring = with_correction(scoring, fold_of, base, is_added=is_added)
        answered = calibrate_held_out(scoring, fold_of, base).fully
        thresholds = torch.stack([*answered.thresholds.values()])
        return answered.probs[held_out], thresholds[:, held_out]

    assert weigh(readings).bias_shift < 0 < weigh(others).bias_shift
    for one, other in zip(answer(readings), answer(others), strict=True):
        assert one.equal(other)


@pytest.mark.parametrize("is_added", [False, True])
def test_no_product_is_scored_by_a_correction_that_has_seen_its_label(monkeypatch, is_added):
    monkeypatch.setattr("enrich.adaptation.scores.choose_strength", lambda labelled, base: 3.0)
    base = _calibration().attributes["color"]
    fold_of = deal_folds(torch.arange(100))
    here = fold_of == 1
    readings = _readings(swapped=False, rows=100, images=100)
    others = [
        replace(one, targets=(one.targets + here[one.product].long()) % LABELS) for one in readings
    ]
    given, changed = (
        with_correction(
            leave_scores(Readings(some, {}), None), fold_of, base, is_added=is_added
        ).without
        for some in (readings, others)
    )
    for fold, (before, after) in enumerate(zip(given, changed, strict=True)):
        assert before[0].logits[here].equal(after[0].logits[here])
        assert before[0].logits[~here].equal(after[0].logits[~here]) == (fold == 1)


def test_products_of_one_text_are_in_one_fold():
    groups = np.random.default_rng(0).integers(0, 40, 200)
    folds = deal_folds(torch.from_numpy(groups)).numpy()
    assert len(set(folds)) == FOLDS
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))


def test_rare_modalities_keep_their_temperature_and_the_higher_threshold():
    effect = _adapt(_readings(swapped=False, images=20), _calibration(1.7))
    both, image = (effect.calibrated[m] for m in (Modalities.IMAGE_AND_TEXT, Modalities.IMAGE))
    assert both.rows == ROWS and both.temperature != 1.7
    assert image.temperature == 1.7 and image.rows == 100
    assert image.thresholds["0.90"] == both.thresholds["0.90"]
    assert both.thresholds["0.90"][Evidence.SILENT] > THRESHOLDS["0.90"][Evidence.SILENT]
    assert image.thresholds["0.95"] == dict.fromkeys(Evidence)


@pytest.mark.parametrize("earlier_looks", [True, False])
@pytest.mark.parametrize("looks", [True, False])
def test_two_corrections_are_written_as_one(earlier_looks, looks):
    random = torch.Generator().manual_seed(0)

    def draw(looks):
        shapes = (LABELS, LABELS), (LABELS, 2 * WIDTH + 2), (LABELS,)
        weight, embeds_weight, bias = (torch.randn(shape, generator=random) for shape in shapes)
        return Layer(weight, embeds_weight if looks else None, bias)

    earlier, layer, (reading, *_) = draw(earlier_looks), draw(looks), _readings(swapped=False)
    written = compose(layer, compose(earlier, None))
    once = reading.corrected(to_layer(written)).logits
    twice = reading.corrected(earlier).corrected(layer).logits
    torch.testing.assert_close(once, twice, atol=1e-3, rtol=0)


def test_the_error_of_a_gain_is_that_of_a_mean_over_few_groups():
    base = _calibration().attributes["color"]
    before = CalibratedAnswers.by(_readings(swapped=False, rows=4, images=4)[0], base)
    gains = torch.tensor([0.1, 0.2, 0.3, 0.4])
    gain = measure_gain(replace(before, probs=before.probs * gains.exp().unsqueeze(1)), before)
    assert gain.mean == pytest.approx(gains.mean().item(), rel=1e-3)
    assert gain.error == pytest.approx(gains.std().item() / 2, rel=1e-3)

    few = _readings(swapped=False, rows=30, images=30)[0]
    tenfold = torch.arange(30).repeat_interleave(10)
    columns = ("logits", "embeds", "targets", "image_weight", "named")
    taken = {name: getattr(few, name)[tenfold] for name in columns}
    rows = {"product": torch.arange(300), "groups": tenfold, "modalities": few.modalities * 10}
    many = replace(few, **rows, **taken)
    found = []
    for one in (few, many):
        before = CalibratedAnswers.by(one, base)
        after = replace(before, probs=before.probs**0.5)
        found.append(measure_gain(after, before))
        alike = replace(after, of=replace(one, groups=torch.zeros_like(one.groups)))
        assert measure_gain(alike, before).error == float("inf")
    assert found[1].error == pytest.approx(found[0].error)
    assert [gain.labels for gain in found] == [30, 30]


def test_some_dozens_of_right_answers_do_not_take_every_doubt_away():
    sure = _readings(swapped=False, rows=80, images=80, scale=1.0)
    readings = [replace(one, targets=one.logits.argmax(1)) for one in sure]
    effect = _adapt(readings)
    for modalities in (Modalities.IMAGE_AND_TEXT, Modalities.IMAGE):
        assert effect.calibrated[modalities].temperature > 0.3


def test_products_without_a_text_do_not_stop_those_with_one_from_being_answered():
    """45 of 60 labelled products have picture and text: too few to fit anything to."""
    both, image, text = _readings(swapped=False, rows=60, images=60)
    right = both.logits.argmax(1)
    readings = [replace(one, targets=right, logits=5 * one.logits) for one in (both, image)]
    readings[0] = readings[0].where(torch.arange(60) < 45)
    base = CalibratedModalities(temperature=1, thresholds=alike(0.8, 0.9), rows=4_000)
    calibration = Calibration(attributes={"color": dict.fromkeys(Modalities, base)})
    effect = _adapt([*readings, text], calibration, torch.arange(60))
    found = effect.calibrated[Modalities.IMAGE_AND_TEXT]
    confidence = CalibratedAnswers.by(readings[0], effect.calibrated).probs.max(1).values
    answered = (confidence >= (found.thresholds["0.90"][Evidence.SILENT] or 9)).float().mean()
    assert answered > 0.8


def test_labels_that_confirm_the_thresholds_count_as_a_fit_that_changes_nothing():
    held = _calibration(thresholds=alike(0.85, 0.9))
    effect = _adapt(_readings(swapped=False), held)
    assert effect.is_better and effect.is_confirmed
    fitted = with_effects(held, {"color": effect})
    assert fitted == held.model_copy(update={"fitted": ("color",)})
    assert not summarise({"color": effect})["color"]["adapted"]
    assert to_table({"color": effect}).blocks[0][1][0] == "thresholds confirmed"


def test_without_an_answer_that_could_confirm_the_thresholds_all_stays():
    readings = [one.where(one.product < 30) for one in _readings(swapped=False)]
    effect = _adapt(readings, _calibration(thresholds=alike(0.85, 0.9)))
    assert not effect.is_better


def test_labels_that_speak_against_the_thresholds_change_them_alone():
    effect = _adapt(_readings(swapped=False), _calibration(thresholds=alike(0.5, 0.6)))
    assert effect.is_better and effect.is_needed and effect.correction is None
    assert effect.before["precision_at_90_threshold"] < 0.9
    assert effect.after["precision_at_90_threshold"] > 0.9
    found = effect.calibrated[Modalities.IMAGE_AND_TEXT].thresholds["0.90"][Evidence.SILENT]
    assert found is not None and found > 0.5


NAMES = ("black", "blue", "red", "white")
CALIBRATED = dict.fromkeys(
    Modalities, CalibratedModalities(temperature=1, thresholds=alike(0.8), rows=9)
)


def _answers(answered, labels, sureness=3.0):
    logits = sureness * torch.nn.functional.one_hot(torch.tensor(answered), len(NAMES)).float()
    return make_answers(logits, torch.tensor(labels), Modalities.TEXT)


ANSWERED = [row % 4 for row in range(100)]


@pytest.mark.parametrize("right", [1, 2, 3])
def test_a_shop_that_is_read_badly_is_no_flaw(right):
    labels = [one if row % 5 < right else (one + 1) % 4 for row, one in enumerate(ANSWERED)]
    assert find_flaw(_answers(ANSWERED, labels), CALIBRATED, NAMES) is None
