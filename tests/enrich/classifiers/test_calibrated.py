"""Scores become probabilities as a checkpoint's calibration says: against figures by hand."""

import pytest
import torch

from enrich.calibration import CalibratedModalities, ScoreCorrection
from enrich.classifiers.calibrated import at_temperatures, correct


@pytest.mark.parametrize(
    ("weight", "wanted"),
    [
        (None, [11.0, 0.0]),
        # 2 x 1 + 3 x 2 + 10, 0 x 1 + 5 x 2 - 2.
        (((2.0, 3.0), (0.0, 5.0)), [18.0, 8.0]),
    ],
)
def test_a_correction_mixes_the_scores_of_a_row_and_adds_its_bias(
    weight: tuple[tuple[float, ...], ...] | None, wanted: list[float]
) -> None:
    scores = torch.tensor([[1.0, 2.0]])
    correction = ScoreCorrection(weight=weight, bias=(10.0, -2.0))
    assert correct(scores, correction).tolist() == [wanted]
    assert correct(scores, None) is scores


@pytest.mark.parametrize(
    ("image_temperature", "image_weight", "temperature"),
    [(8.0, 0.0, 2.0), (8.0, 1.0, 8.0), (8.0, 0.5, 4.0), (8.0, None, 2.0), (None, 0.5, 2.0)],
)
def test_a_row_is_as_unsure_as_the_share_of_its_picture_says(
    image_temperature: float | None, image_weight: float | None, temperature: float
) -> None:
    scores = torch.tensor([[3.0, 0.0, -1.0]])
    calibrated = CalibratedModalities(
        temperature=2.0,
        image_temperature=image_temperature,
        thresholds={"0.90": None, "0.95": None},
        rows=9,
    )
    weights = None if image_weight is None else torch.tensor([image_weight])
    found = at_temperatures(scores, [calibrated], weights)
    torch.testing.assert_close(found, (scores / temperature).softmax(1))
