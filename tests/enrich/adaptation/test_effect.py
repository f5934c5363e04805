"""An adaptation that takes right answers away is none."""

from dataclasses import replace

import pytest
from adaptations import make_effect

from enrich.adaptation.trial import Gain
from enrich.calibration import CalibratedModalities
from enrich.records import Modalities

ANSWERS = CalibratedModalities(temperature=1, thresholds={"0.90": 0.05, "0.95": None}, rows=100)
FIGURES = {"accuracy": 0.9, "precision_at_90_threshold": 0.97, "answered_at_90_threshold": 0.9}
EFFECT = make_effect(FIGURES, Gain(0.1, 0.01, 100), dict.fromkeys(Modalities, ANSWERS))


def test_an_adaptation_that_silences_answers_that_were_right_is_none() -> None:
    effect = replace(EFFECT, after=FIGURES | {"answered_at_90_threshold": 0.25})
    assert effect.loses_answers and not effect.is_better
    assert replace(effect, after=FIGURES).is_better
    wrong_before = FIGURES | {"precision_at_90_threshold": 0.8}
    assert replace(effect, before=wrong_before).is_better


@pytest.mark.parametrize(("answered", "loses"), [(0.85, False), (0.75, True)])
def test_one_answer_in_ten_may_be_lost_for_better_ones(answered: float, loses: bool) -> None:
    effect = replace(EFFECT, after=FIGURES | {"answered_at_90_threshold": answered})
    assert (effect.loses_answers, effect.is_better) == (loses, not loses)


def test_silence_is_better_than_wrong_answers_but_not_than_right_ones() -> None:
    never = CalibratedModalities(temperature=1, thresholds={"0.90": None, "0.95": None}, rows=60)
    silent = replace(
        EFFECT,
        after=FIGURES | {"precision_at_90_threshold": None, "answered_at_90_threshold": 0.0},
        silenced=[*Modalities],
        calibrated=dict.fromkeys(Modalities, never),
    )
    assert silent.falls_silent and not silent.is_better
    assert replace(silent, before=FIGURES | {"precision_at_90_threshold": 0.8}).is_better
    silent_before = replace(silent, silenced=[])
    assert not silent_before.falls_silent


@pytest.mark.parametrize(("labels", "is_better"), [(60, False), (600, True)])
def test_a_gain_that_chance_has_over_a_few_labels_is_none(labels: int, is_better: bool) -> None:
    assert replace(EFFECT, gain=Gain(0.04, 0.01, labels)).is_better == is_better
