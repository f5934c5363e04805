"""Thresholds ask for no more than labels can tell, and for no less."""

from dataclasses import replace

import pytest
import torch

from enrich.adaptation.calibrating import pick_thresholds
from enrich.calibration import CalibratedModalities
from enrich.records import Modalities
from enrich.training.answers import Answers


@pytest.mark.parametrize(("wrong", "kept"), [(0, 0.9), (1, 0.9), (2, None), (10, None)])
def test_a_threshold_that_few_labels_cannot_reach_stays_unless_they_speak_against_it(
    wrong: int, kept: float | None
) -> None:
    logits = torch.tensor([[9.0, 0, 0, 0, 0]]).repeat(10, 1)
    targets = (torch.arange(10) < wrong).long()
    every, pictures = torch.arange(10), [Modalities.IMAGE] * 10
    reading = Answers(every, every, pictures, logits, torch.ones(10, 2), targets, torch.ones(10))
    own = CalibratedModalities(temperature=2.0, thresholds={"0.90": 0.9, "0.95": None}, rows=4_000)
    found = pick_thresholds(reading, {Modalities.IMAGE: own}, own.thresholds)
    assert found == {"0.90": kept, "0.95": None}


def test_thresholds_are_reached_by_products_not_by_their_colors() -> None:
    logits = torch.tensor([[9.0, 0, 0, 0, 0]]).repeat(60, 1)
    right = torch.zeros(60, dtype=torch.long)
    every, pictures = torch.arange(60), [Modalities.IMAGE] * 60
    reading = Answers(every, every, pictures, logits, torch.ones(60, 2), right, torch.ones(60))
    never = CalibratedModalities(temperature=1, thresholds={"0.90": None, "0.95": None}, rows=9)
    known = {Modalities.IMAGE: never}
    apart = pick_thresholds(reading, known, never.thresholds)
    assert apart["0.95"] is not None
    six = replace(reading, groups=every // 10)
    six_products = pick_thresholds(six, known, never.thresholds)
    assert six_products == {"0.90": None, "0.95": None}
