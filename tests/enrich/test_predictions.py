"""Outputs of a classifier are read as the checkpoint's calibration says."""

import torch

from enrich.calibration import CalibratedModalities, Calibration, ScoreCorrection
from enrich.classifiers.interface import ModelOutput
from enrich.predictions import Reader
from enrich.records import Modalities

LABELS = {"color": ("red", "blue")}


def test_a_fitted_checkpoint_reads_pictures_anew_where_there_is_one() -> None:
    calibrated = CalibratedModalities(temperature=1, thresholds={"0.90": 0, "0.95": 0}, rows=9)
    # The second number of a picture's embedding says blue; the text's say nothing.
    sees_blue = ScoreCorrection(
        embeds_weight=((0, 0, 0, 0, 0, 0), (0, 5, 0, 0, 0, 0)), bias=(0.0, 0.0)
    )
    calibration = Calibration(
        attributes={"color": dict.fromkeys(Modalities, calibrated)},
        corrections={"color": sees_blue},
    )
    reader = Reader(LABELS, calibration, calibration.thresholds(0.90))
    output = ModelOutput(
        logits={"color": torch.tensor([[2.0, 0.0]] * 3)},
        image_embeds=torch.tensor([[9.0, 1.0], [9.0, -1.0], [9.0, 1.0]]),
        text_embeds=torch.ones(3, 2),
    )
    rows = reader.read(output, [Modalities.IMAGE_AND_TEXT, Modalities.IMAGE, Modalities.TEXT])
    assert [answer.label for (answer,) in rows] == ["blue", "red", "red"]
