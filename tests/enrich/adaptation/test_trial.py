"""Thresholds are proved on labels; an adaptation gains more than chance and keeps right answers."""

from dataclasses import replace

import pytest
import torch
from adaptations import make_answers, make_effect
from thresholds import alike

from enrich.adaptation.trial import Gain, pick_thresholds
from enrich.calibration import CalibratedModalities
from enrich.lexicon import Evidence
from enrich.records import Modalities

OWN = CalibratedModalities(temperature=1, thresholds=alike(0.9), rows=4_000)


def read(margins, targets=None):
    """Return answers to pictures, of two labels whose logits differ by so much."""
    logits = torch.stack([margins, torch.zeros_like(margins)], dim=1)
    right = torch.zeros(len(margins), dtype=torch.long)
    return make_answers(logits, right if targets is None else targets, Modalities.IMAGE)


def pick(reading, own=OWN):
    found = pick_thresholds(reading, {Modalities.IMAGE: own}, own.thresholds)
    return found["0.90"][Evidence.SILENT]


def test_labels_that_are_all_right_lower_the_threshold():
    margins = torch.linspace(4, 0.5, 200)
    assert pick(read(margins)) == torch.sigmoid(margins[-1])


def test_labels_that_are_often_wrong_raise_the_threshold():
    margins = torch.linspace(6, 0.5, 200)
    raised = pick(read(margins, (torch.arange(200) > 100).long()))
    assert raised is not None and raised > 0.93


def test_answers_below_the_floor_of_their_label_prove_nothing():
    """The surest 100 answers are right, but of a label that a floor leaves out."""
    margins = torch.cat([torch.linspace(6, 4, 100), -torch.linspace(3, 0.5, 100)])
    targets = (torch.arange(200) > 150).long()
    floored = OWN.model_copy(update={"floors": {"0.90": (None, 0.0), "0.95": (0.0, 0.0)}})
    reading = read(margins, targets)
    assert pick(reading) is not None and pick(reading, floored) is None


def test_an_attribute_that_was_never_answered_is_answered_where_labels_prove_it():
    never = OWN.model_copy(
        update={"thresholds": dict.fromkeys(("0.90", "0.95"), dict.fromkeys(Evidence))}
    )
    assert pick(read(torch.linspace(4, 1, 60)), never)


ANSWERS = CalibratedModalities(temperature=1, thresholds=alike(0.05), rows=100)
NEVER = CalibratedModalities(temperature=1, thresholds=alike(None), rows=60)
FIGURES = {"accuracy": 0.9, "precision_at_90_threshold": 0.97, "answered_at_90_threshold": 0.9}
WRONG_BEFORE = {"before": FIGURES | {"precision_at_90_threshold": 0.8}}
EFFECT = make_effect(FIGURES, Gain(0.1, 0.01, 100), dict.fromkeys(Modalities, ANSWERS))


def answered(share, precision=0.97):
    """Return what an adaptation is where this share is answered after it."""
    figures = {"answered_at_90_threshold": share, "precision_at_90_threshold": precision}
    return {"after": FIGURES | figures}


SILENT = answered(0.0, None) | {"calibrated": dict.fromkeys(Modalities, NEVER)}


@pytest.mark.parametrize(
    ("changed", "is_better"),
    [
        ({}, True),
        # So many labels that no gain is too small for their number.
        ({"gain": Gain(0.2, 0.1, 10_000)}, True),
        ({"gain": Gain(0.05, 0.1, 10_000)}, False),
        ({"gain": Gain(-0.2, 0.1, 10_000)}, False),
        ({"gain": Gain(0.001, 0.0, 10_000)}, False),
        # A gain that chance has over a few labels.
        ({"gain": Gain(0.04, 0.01, 60)}, False),
        ({"gain": Gain(0.04, 0.01, 600)}, True),
        ({"after": FIGURES | {"accuracy": 0.89}}, False),
        # One answer in ten may be lost for better ones, and more where they were wrong.
        (answered(0.85), True),
        (answered(0.75), False),
        (answered(0.25), False),
        (answered(0.25) | WRONG_BEFORE, True),
        # Silence is better than wrong answers, but not than right ones.
        (SILENT, False),
        (SILENT | WRONG_BEFORE, True),
    ],
)
def test_an_adaptation_is_better_where_it_gains_and_loses_no_right_answers(changed, is_better):
    assert replace(EFFECT, **changed).is_better == is_better
