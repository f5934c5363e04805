"""Rare labels are preferred as far as it costs nothing."""

import torch

from enrich.training.calibration import LabelledLogits
from enrich.training.labelled import UNLABELLED
from enrich.training.rare_labels import log_priors, prefer_rare_labels

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


def test_rare_labels_are_preferred_as_far_as_all_conditions_together_bear_it() -> None:
    timid, bold = _scored(timid=0.5), _scored(timid=-1.0)
    assert prefer_rare_labels([timid, bold], PRIORS) is None


def test_without_a_labelled_row_nothing_is_preferred() -> None:
    empty = LabelledLogits(torch.empty(0, 3), torch.empty(0, dtype=torch.long))
    assert prefer_rare_labels([empty], PRIORS) is None


def test_priors_are_the_labels_shares_and_an_unseen_label_has_one() -> None:
    priors = log_priors(torch.tensor([0, 0, 0, UNLABELLED, 1]), labels=3)
    torch.testing.assert_close(priors.exp(), torch.tensor([4, 2, 1]) / 7)
