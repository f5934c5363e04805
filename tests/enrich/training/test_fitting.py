"""What is fitted to validation groups after training."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from enrich.classifiers.cma_clip import CmaClip, cls_of, jensen_shannon
from enrich.classifiers.config import ClassifierConfig
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


@pytest.fixture
def classifier(small_config: ClassifierConfig) -> CmaClip:
    torch.manual_seed(0)
    return CmaClip(small_config, 320)


def _labelled_by(
    classifier: CmaClip, batches: Batches, modality: str, column: int, attribute: str
) -> Batches:
    """The products labelled as one of the modalities alone would have them."""
    (inputs,) = batches.evaluation(ROWS, Condition.AS_IS, len(ROWS))
    classifier.eval()
    with torch.inference_mode():
        read = classifier(inputs).vectors.named[modality]
        answers = classifier.heads[attribute](read).argmax(1)
    targets = batches.products.targets.copy()
    targets[:, column] = answers.numpy()
    products = replace(batches.products, targets=targets)
    return Batches(products, batches.images, batches.encoder, batches.label_words)


@pytest.mark.parametrize(("modality", "sign"), [("image_cls", 1), ("text_cls", -1)])
def test_the_bias_prefers_the_modality_that_is_right(
    make: Callable[..., Trainer], classifier: CmaClip, modality: str, sign: int
) -> None:
    batches = _labelled_by(classifier, make("a").batches, modality, 0, "color")
    fit_modality_bias(classifier, batches, ROWS, {Condition.AS_IS: 1.0}, {})
    assert sign * classifier.modality_wise["color"].trust.item() > 0.25
    (inputs,) = batches.evaluation(ROWS, Condition.AS_IS, len(ROWS))
    with torch.inference_mode():
        weight = classifier(inputs).image_weight["color"].mean()
    assert (weight > 0.5) == (sign > 0)


def _make_sure(classifier: CmaClip) -> None:
    """Make the readers of picture and text sure enough of themselves to disagree."""
    with torch.no_grad():
        classifier.heads["color"][-1].weight.mul_(60)


def _answered(classifier: CmaClip, batches: Batches, *, is_often_wrong: bool) -> Batches:
    """The products labelled as they are answered, or half otherwise where both readers disagree."""
    _make_sure(classifier)
    (inputs,) = batches.evaluation(ROWS, Condition.AS_IS, len(ROWS))
    classifier.eval()
    with torch.inference_mode():
        output = classifier(inputs)
        alone = [classifier.heads["color"](one).softmax(1) for one in cls_of(output.vectors)]
        answered = output.logits["color"].argmax(1)
    disagreeing = jensen_shannon(*alone) > 0.5
    assert 5 < disagreeing.sum() < 35
    targets = batches.products.targets.copy()
    # Right everywhere, or wrong in half of what they disagree about.
    targets[:, 0] = answered.numpy()
    if is_often_wrong:
        targets[disagreeing.numpy() & (ROWS % 5 == 0), 0] += 1
        targets[:, 0] %= len(classifier.config.attributes["color"])
    products = replace(batches.products, targets=targets)
    return Batches(products, batches.images, batches.encoder, batches.label_words)


@pytest.mark.parametrize("is_often_wrong", [True, False])
def test_disagreement_is_penalised_if_its_answers_are_often_wrong(
    make: Callable[..., Trainer], classifier: CmaClip, is_often_wrong: bool
) -> None:
    batches = _answered(classifier, make("a").batches, is_often_wrong=is_often_wrong)
    fit_modality_bias(classifier, batches, ROWS, {}, {Condition.AS_IS: 1.0})
    assert (classifier.modality_wise["color"].doubt > 0.25) == is_often_wrong


def test_products_without_a_picture_leave_the_penalty_alone(
    make: Callable[..., Trainer], classifier: CmaClip
) -> None:
    batches = _answered(classifier, make("a").batches, is_often_wrong=False)
    has_image = ROWS < 20
    batches.images = replace(batches.images, has_image=has_image)
    # One in five is wrong, and without a picture all.
    batches.products.targets[~has_image | (ROWS % 5 == 0), 0] += 1
    batches.products.targets[:, 0] %= len(classifier.config.attributes["color"])
    penalties = []
    for rows in (ROWS, ROWS[has_image]):
        fit_modality_bias(classifier, batches, rows, {}, {Condition.AS_IS: 1.0})
        penalties.append(classifier.modality_wise["color"].doubt.item())
    assert penalties[0] == penalties[1] > 0


def _fitted(
    config: ClassifierConfig, batches: Batches, rows: np.ndarray, shares: dict[Condition, float]
) -> tuple[float, float]:
    """Fit bias and penalty; one text in three is wrong, and one product in four unlabelled."""
    torch.manual_seed(0)
    classifier = CmaClip(config, 320)
    _make_sure(classifier)
    labelled = _labelled_by(classifier, batches, "text_cls", 0, "color")
    labelled.products.targets[ROWS % 3 == 0, 0] += 1
    labelled.products.targets[:, 0] %= len(config.attributes["color"])
    labelled.products.targets[ROWS % 4 == 0] = UNLABELLED
    fit_modality_bias(classifier, labelled, rows, shares, shares)
    attention = classifier.modality_wise["color"]
    return attention.trust.item(), attention.doubt.item()


def test_a_condition_moves_bias_and_penalty_by_its_share(
    make: Callable[..., Trainer], small_config: ClassifierConfig
) -> None:
    batches, as_is = make("a").batches, {Condition.AS_IS: 1.0}
    alone, seldom, often = (
        _fitted(small_config, batches, ROWS, as_is | masked)
        for masked in ({}, {Condition.WORDS_MASKED: 1e-3}, {Condition.WORDS_MASKED: 1.0})
    )
    assert seldom == alone
    assert all(moved != before for moved, before in zip(often, alone, strict=True))


def test_products_without_a_label_leave_bias_and_penalty_alone(
    make: Callable[..., Trainer], small_config: ClassifierConfig
) -> None:
    batches, shares = make("a").batches, {Condition.AS_IS: 1.0}
    labelled = _fitted(small_config, batches, ROWS[ROWS % 4 > 0], shares)
    assert _fitted(small_config, batches, ROWS, shares) == labelled


@pytest.mark.parametrize("modality", ["image", "text"])
def test_without_products_of_both_modalities_the_bias_stays(
    make: Callable[..., Trainer], classifier: CmaClip, modality: str
) -> None:
    batches = make("a").batches
    if modality == "image":
        batches.images = replace(batches.images, has_image=np.zeros(len(ROWS), dtype=bool))
    else:
        products = replace(batches.products, texts=[""] * len(ROWS))
        batches = Batches(products, batches.images, batches.encoder, batches.label_words)
    fit_modality_bias(classifier, batches, ROWS, {Condition.AS_IS: 1.0}, {Condition.AS_IS: 1.0})
    assert classifier.modality_wise["color"].trust == 0


def test_a_classifier_without_that_attention_is_left_as_it_is(
    make: Callable[..., Trainer], small_config: ClassifierConfig
) -> None:
    averaging = CmaClip(small_config.model_copy(update={"modality_wise": False}), 320)
    before = {name: tensor.clone() for name, tensor in averaging.state_dict().items()}
    fit_modality_bias(
        averaging, make("a").batches, ROWS, {Condition.AS_IS: 1.0}, {Condition.AS_IS: 1.0}
    )
    assert all(tensor.equal(before[name]) for name, tensor in averaging.state_dict().items())


def test_weights_without_bias_and_penalty_have_zeros(
    classifier: CmaClip,
) -> None:
    classifier.shift_modality_bias("color", 2.0)
    classifier.set_disagreement_penalty("color", 0.5)
    fitted = ("trust", "doubt")
    old = {n: t for n, t in classifier.state_dict().items() if not n.endswith(fitted)}
    classifier.load_state_dict(old)
    assert [classifier.modality_wise["color"].get_buffer(name) for name in fitted] == [0, 0]


PRIORS = torch.tensor([0.9, 0.08, 0.02]).log()


def _scored(timid: float, rows: int = 4000) -> LabelledLogits:
    """A classifier that gives rare labels less than their due, by so much of their log share."""
    random = torch.Generator().manual_seed(0)
    targets = PRIORS.exp().multinomial(rows, replacement=True, generator=random)
    evidence = 2 * torch.randn(rows, 3, generator=random)
    evidence[torch.arange(rows), targets] += 3
    return LabelledLogits(evidence + (1 + timid) * PRIORS, targets)


def _right(scored: LabelledLogits, bias: tuple[float, ...]) -> float:
    best = (scored.logits + torch.tensor(bias)).argmax(1)
    return (best == scored.targets).float().mean().item()


def test_a_classifier_that_is_timid_about_rare_labels_is_encouraged() -> None:
    scored = _scored(timid=0.5)
    correction = prefer_rare_labels([scored], PRIORS)
    assert correction is not None
    assert correction.bias[2] > correction.bias[1] > correction.bias[0] > 0
    assert correction.weight is None


def test_no_accuracy_to_speak_of_is_paid_for_rare_labels() -> None:
    scored = _scored(timid=0.1)
    correction = prefer_rare_labels([scored], PRIORS)
    bias = (0.0, 0.0, 0.0) if correction is None else correction.bias
    standard_error = (0.1 * 0.9 / 4000) ** 0.5
    assert _right(scored, bias) > _right(scored, (0.0, 0.0, 0.0)) - standard_error / 3


def test_one_that_is_bold_already_is_left_alone() -> None:
    assert prefer_rare_labels([_scored(timid=-1.0)], PRIORS) is None


def test_rare_labels_are_preferred_by_all_conditions_together() -> None:
    timid, bold = _scored(timid=0.5), _scored(timid=-1.0)
    assert prefer_rare_labels([timid, bold], PRIORS) is None


def test_without_a_labelled_row_nothing_is_preferred() -> None:
    empty = LabelledLogits(torch.empty(0, 3), torch.empty(0, dtype=torch.long))
    assert prefer_rare_labels([empty], PRIORS) is None


def test_priors_are_the_labels_shares_and_an_unseen_label_has_one() -> None:
    priors = log_priors(torch.tensor([0, 0, 0, UNLABELLED, 1]), labels=3)
    torch.testing.assert_close(priors.exp(), torch.tensor([4, 2, 1]) / 7)


def _masked(right: float) -> tuple[Answers, Answers]:
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


def test_words_that_the_tower_has_not_learnt_weigh_what_they_are_right() -> None:
    mostly, sometimes, never = (fit_unread_weight(*_masked(r), None) for r in (0.95, 0.5, 0.0))
    assert mostly > 2 > sometimes > never == 0


def test_without_texts_or_words_nothing_is_fitted_to_them() -> None:
    masked, whole = _masked(0.95)
    assert fit_unread_weight(None, whole, None) == 0
    assert fit_unread_weight(masked, masked, None) == 0
