"""What is fitted to validation groups after training."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from enrich.classifiers.cma_clip import CmaClip, cls_of, jensen_shannon
from enrich.records import Modalities
from enrich.training.answers import Answers
from enrich.training.batches import Batches, Condition
from enrich.training.calibration import LabelledLogits
from enrich.training.fitting import (
    fit_modality_bias,
    fit_unread_weight,
    log_priors,
    prefer_rare_labels,
)
from enrich.training.labelled import UNLABELLED
from enrich.training.loop import Trainer

ROWS = np.arange(40)
COLORS = ("red", "green", "blue", "white")
AS_IS = {Condition.AS_IS: 1.0}
Make = Callable[..., Trainer]


@pytest.fixture
def classifier(small_config):
    torch.manual_seed(0)
    return CmaClip(small_config, 320)


def _with_colors(batches, colors):
    """Return the products with these labels of color."""
    targets = batches.products.targets.copy()
    targets[:, 0] = np.where(colors == UNLABELLED, UNLABELLED, colors % len(COLORS))
    products = replace(batches.products, targets=targets)
    return Batches(products, batches.images, batches.encoder, batches.label_words)


def _see(classifier, batches):
    (inputs,) = batches.evaluation(ROWS, Condition.AS_IS, len(ROWS))
    with torch.inference_mode():
        return classifier.eval()(inputs)


def _read_alone(classifier, batches):
    """Return the logits of color by the picture alone, and by the text alone."""
    vectors = _see(classifier, batches).vectors
    with torch.inference_mode():
        return [classifier.heads["color"](one) for one in cls_of(vectors)]


@pytest.mark.parametrize(("modality", "sign"), [(0, 1), (1, -1)], ids=["image", "text"])
def test_the_bias_prefers_the_modality_that_is_right(make, classifier, modality, sign):
    batches = make("a").batches
    right = _read_alone(classifier, batches)[modality].argmax(1).numpy()
    fit_modality_bias(classifier, _with_colors(batches, right), ROWS, AS_IS, {})
    assert sign * classifier.modality_wise["color"].trust.item() > 0.25
    assert (_see(classifier, batches).image_weight["color"].mean() > 0.5) == (sign > 0)


def _make_sure(classifier):
    """Make the readers of picture and text sure enough of themselves to disagree."""
    with torch.no_grad():
        classifier.heads["color"][-1].weight.mul_(60)


def _answered(classifier, batches, *, is_often_wrong):
    """The products labelled as they are answered, or half otherwise where both readers disagree."""
    _make_sure(classifier)
    alone = [logits.softmax(1) for logits in _read_alone(classifier, batches)]
    disagreeing = (jensen_shannon(*alone) > 0.5).numpy()
    assert 5 < disagreeing.sum() < 35
    answered = _see(classifier, batches).logits["color"].argmax(1).numpy()
    return _with_colors(batches, answered + (is_often_wrong & disagreeing & (ROWS % 5 == 0)))


@pytest.mark.parametrize("is_often_wrong", [True, False])
def test_disagreement_is_penalised_if_its_answers_are_often_wrong(make, classifier, is_often_wrong):
    batches = _answered(classifier, make("a").batches, is_often_wrong=is_often_wrong)
    fit_modality_bias(classifier, batches, ROWS, {}, AS_IS)
    assert (classifier.modality_wise["color"].doubt > 0.25) == is_often_wrong


def test_products_without_a_picture_leave_the_penalty_alone(make, classifier):
    batches = _answered(classifier, make("a").batches, is_often_wrong=False)
    has_image = ROWS < 20
    batches.images = replace(batches.images, has_image=has_image)
    # One in five is wrong, and without a picture all.
    wrong = ~has_image | (ROWS % 5 == 0)
    batches = _with_colors(batches, batches.products.targets[:, 0] + wrong)
    penalties = []
    for rows in (ROWS, ROWS[has_image]):
        fit_modality_bias(classifier, batches, rows, {}, AS_IS)
        penalties.append(classifier.modality_wise["color"].doubt.item())
    assert penalties[0] == penalties[1] > 0


@pytest.fixture
def fitted(make, small_config):
    """Fit bias and penalty; one text in three is wrong, and one product in four unlabelled."""
    batches = make("a").batches

    def fitted(rows, shares):
        torch.manual_seed(0)
        classifier = CmaClip(small_config, 320)
        _make_sure(classifier)
        said = _read_alone(classifier, batches)[1].argmax(1).numpy() + (ROWS % 3 == 0)
        labelled = _with_colors(batches, np.where(ROWS % 4 == 0, UNLABELLED, said))
        fit_modality_bias(classifier, labelled, rows, shares, shares)
        attention = classifier.modality_wise["color"]
        return attention.trust.item(), attention.doubt.item()

    return fitted


def test_a_condition_moves_bias_and_penalty_by_its_share(fitted):
    alone, seldom, often = (
        fitted(ROWS, AS_IS | masked)
        for masked in ({}, {Condition.WORDS_MASKED: 1e-3}, {Condition.WORDS_MASKED: 1.0})
    )
    assert seldom == alone
    assert all(moved != before for moved, before in zip(often, alone, strict=True))


def test_products_without_a_label_leave_bias_and_penalty_alone(fitted):
    assert fitted(ROWS, AS_IS) == fitted(ROWS[ROWS % 4 > 0], AS_IS)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_without_products_of_both_modalities_the_bias_stays(make, classifier, modality):
    batches = make("a").batches
    if modality == "image":
        batches.images = replace(batches.images, has_image=np.zeros(len(ROWS), dtype=bool))
    else:
        products = replace(batches.products, texts=[""] * len(ROWS))
        batches = Batches(products, batches.images, batches.encoder, batches.label_words)
    fit_modality_bias(classifier, batches, ROWS, AS_IS, AS_IS)
    assert classifier.modality_wise["color"].trust == 0


def test_a_classifier_without_that_attention_is_left_as_it_is(make, small_config):
    averaging = CmaClip(small_config.model_copy(update={"modality_wise": False}), 320)
    before = {name: tensor.clone() for name, tensor in averaging.state_dict().items()}
    fit_modality_bias(averaging, make("a").batches, ROWS, AS_IS, AS_IS)
    assert all(tensor.equal(before[name]) for name, tensor in averaging.state_dict().items())


PRIORS = torch.tensor([0.9, 0.08, 0.02]).log()


def _scored(timid, rows=4000):
    """A classifier that gives rare labels less than their due, by so much of their log share."""
    random = torch.Generator().manual_seed(0)
    targets = PRIORS.exp().multinomial(rows, replacement=True, generator=random)
    evidence = 2 * torch.randn(rows, 3, generator=random)
    evidence[torch.arange(rows), targets] += 3
    return LabelledLogits(evidence + (1 + timid) * PRIORS, targets)


def _right(scored, bias):
    best = (scored.logits + torch.tensor(bias)).argmax(1)
    return (best == scored.targets).float().mean().item()


def test_a_classifier_that_is_timid_about_rare_labels_is_encouraged():
    correction = prefer_rare_labels([_scored(timid=0.5)], PRIORS)
    assert correction is not None
    assert correction.bias[2] > correction.bias[1] > correction.bias[0] > 0
    assert correction.weight is None


def test_no_accuracy_to_speak_of_is_paid_for_rare_labels():
    scored = _scored(timid=0.1)
    correction = prefer_rare_labels([scored], PRIORS)
    bias = (0.0, 0.0, 0.0) if correction is None else correction.bias
    standard_error = (0.1 * 0.9 / 4000) ** 0.5
    assert _right(scored, bias) > _right(scored, (0.0, 0.0, 0.0)) - standard_error / 3


TIMID, BOLD = _scored(timid=0.5), _scored(timid=-1.0)
EMPTY = LabelledLogits(torch.empty(0, 3), torch.empty(0, dtype=torch.long))


@pytest.mark.parametrize(
    "conditions", [[BOLD], [TIMID, BOLD], [EMPTY]], ids=["bold", "bold under one", "no row"]
)
def test_nothing_is_preferred_where_all_conditions_together_gain_nothing(conditions):
    assert prefer_rare_labels(conditions, PRIORS) is None


def test_priors_are_the_labels_shares_and_an_unseen_label_has_one():
    priors = log_priors(torch.tensor([0, 0, 0, UNLABELLED, 1]), labels=3)
    torch.testing.assert_close(priors.exp(), torch.tensor([4, 2, 1]) / 7)


def _masked(right):
    """Answers that know nothing, masked and whole; titles name the label in so many of 600."""
    random = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (600,), generator=random)
    wrong = (targets + 1) % 3
    said = torch.where(torch.rand(600, generator=random) < right, targets, wrong)
    named = torch.nn.functional.one_hot(said, 3).bool()
    both = [Modalities.IMAGE_AND_TEXT] * 600
    whole = Answers(
        torch.arange(600), torch.arange(600), both, torch.zeros(600, 3), torch.zeros(600, 0),
        targets, None, named,
    )  # fmt: skip
    return replace(whole, named=torch.zeros_like(named)), whole


def test_words_that_the_tower_has_not_learnt_weigh_what_they_are_right():
    mostly, sometimes, never = (fit_unread_weight(*_masked(r), None) for r in (0.95, 0.5, 0.0))
    assert mostly > 2 > sometimes > never == 0


def test_without_texts_or_words_nothing_is_fitted_to_them():
    masked, whole = _masked(0.95)
    assert fit_unread_weight(None, whole, None) == 0
    assert fit_unread_weight(masked, masked, None) == 0
