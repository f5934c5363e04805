"""Scores become probabilities as a checkpoint's calibration says: against figures by hand."""

import pytest
import torch
from thresholds import alike

from enrich.calibration import CalibratedModalities, ScoreCorrection
from enrich.classifiers.calibrated import apply_layer, at_temperatures, join_embeds, to_layer
from enrich.classifiers.interface import IMAGE, TEXT, Vectors


@pytest.mark.parametrize(
    ("weight", "embeds_weight", "named_weight", "wanted"),
    [
        (None, None, 0.0, [11.0, 0.0]),
        # 2 x 1 + 3 x 2 + 10, 0 x 1 + 5 x 2 - 2.
        (((2.0, 3.0), (0.0, 5.0)), None, 0.0, [18.0, 8.0]),
        # And 4 x 7 + 1 x 1, and -1 x 1 of an embedding of 7 and the one behind it.
        (None, ((4.0, 1.0), (0.0, -1.0)), 0.0, [40.0, -1.0]),
        # The text names the second label.
        (None, None, 3.0, [11.0, 3.0]),
    ],
)
def test_a_correction_mixes_scores_reads_embeddings_and_adds_its_bias(
    weight, embeds_weight, named_weight, wanted
):
    scores, embeds = torch.tensor([[1.0, 2.0]]), torch.tensor([[7.0, 1.0]])
    named = torch.tensor([[False, True]])
    correction = ScoreCorrection(
        weight=weight, embeds_weight=embeds_weight, named_weight=named_weight, bias=(10.0, -2.0)
    )
    assert apply_layer(scores, embeds, named, to_layer(correction)).tolist() == [wanted]
    assert apply_layer(scores, embeds, named, to_layer(None)) is scores


def test_of_what_a_row_lacks_nothing_is_seen():
    nothing = torch.full((3, 2), torch.nan)
    image, text = torch.tensor([[1.0, 2.0]] * 3), torch.tensor([[3.0, 4.0]] * 3)
    image[2], text[1] = nothing[2], nothing[1]
    named = {IMAGE: image.bfloat16(), TEXT: text.bfloat16()}
    has_image, has_text = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    embeds = join_embeds(Vectors(named, has_image, has_text))
    assert embeds.tolist() == [[1, 2, 1, 3, 4, 1], [1, 2, 1, 0, 0, 0], [0, 0, 0, 3, 4, 1]]


@pytest.mark.parametrize(
    ("image_temperature", "image_weight", "temperature"),
    [(8.0, 0.0, 2.0), (8.0, 1.0, 8.0), (8.0, 0.5, 4.0), (8.0, None, 2.0), (None, 0.5, 2.0)],
)
def test_a_row_is_as_unsure_as_the_share_of_its_picture_says(
    image_temperature, image_weight, temperature
):
    scores = torch.tensor([[3.0, 0.0, -1.0]])
    calibrated = CalibratedModalities(
        temperature=2.0,
        image_temperature=image_temperature,
        thresholds=alike(None),
        rows=9,
    )
    weights = None if image_weight is None else torch.tensor([image_weight])
    found = at_temperatures(scores, [calibrated], weights)
    torch.testing.assert_close(found, (scores / temperature).softmax(1))
