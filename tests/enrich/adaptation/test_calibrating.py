"""Thresholds ask for no more than labels can tell, and for no less."""

from dataclasses import replace

import torch
from adaptations import make_answers

from enrich.adaptation.calibrating import pick_thresholds
from enrich.calibration import CalibratedModalities
from enrich.lexicon import Evidence
from enrich.records import Modalities
from enrich.training.answers import Answers

OWN = CalibratedModalities(temperature=1, thresholds={"0.90": 0.9, "0.95": None}, rows=4_000)


def read(margins: torch.Tensor, targets: torch.Tensor | None = None) -> Answers:
    """Return answers to pictures, of two labels whose logits differ by so much."""
    logits = torch.stack([margins, torch.zeros_like(margins)], dim=1)
    right = torch.zeros(len(margins), dtype=torch.long)
    return make_answers(logits, right if targets is None else targets, Modalities.IMAGE)


def pick(reading: Answers, own: CalibratedModalities = OWN) -> float | None:
    found = pick_thresholds(reading, {Modalities.IMAGE: own}, own.thresholds)
    return found["0.90"][Evidence.SILENT]


def test_few_labels_prove_nothing_and_nothing_is_answered() -> None:
    assert pick(read(torch.full((10,), 9.0))) is None


def test_labels_that_are_all_right_lower_the_threshold() -> None:
    margins = torch.linspace(4, 0.5, 200)
    assert pick(read(margins)) == torch.sigmoid(margins[-1])


def test_labels_that_are_often_wrong_raise_the_threshold() -> None:
    margins = torch.linspace(6, 0.5, 200)
    raised = pick(read(margins, (torch.arange(200) > 100).long()))
    assert raised is not None and raised > 0.93


def test_near_identical_products_prove_as_much_as_one() -> None:
    reading = read(torch.linspace(4, 1, 60))
    assert pick(reading) is not None
    assert pick(replace(reading, groups=reading.groups // 10)) is None


def test_an_attribute_that_was_never_answered_is_answered_where_labels_prove_it() -> None:
    never = OWN.model_copy(
        update={"thresholds": dict.fromkeys(("0.90", "0.95"), dict.fromkeys(Evidence))}
    )
    assert pick(read(torch.linspace(4, 1, 60)), never)
