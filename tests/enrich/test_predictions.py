"""Outputs of a classifier are read as the checkpoint's calibration says."""

import torch
from enrich.predictions import Predictor

from enrich.calibration import CalibratedModalities, Calibration, ScoreCorrection
from enrich.classifiers.interface import ModelOutput
from enrich.records import Modalities


def _make_predictor(
    *,
    thresholds: tuple[float, float, float] = (0, 0, 0),
    labels: tuple[str, ...] = ("red", "blue"),
    corrections: dict[str, ScoreCorrection] | None = None,
) -> Predictor:
    """Predicts colors; thresholds are those of image and text, image, and text."""
    calibrated = {
        modalities: CalibratedModalities(
            temperature=1, thresholds={"0.90": threshold, "0.95": None}, rows=9
        )
        for modalities, threshold in zip(Modalities, thresholds, strict=True)
    }
    calibration = Calibration(attributes={"color": calibrated}, corrections=corrections or {})
    return Predictor({"color": labels}, calibration, calibration.thresholds(0.90))


def _output(scores: list[list[float]]) -> ModelOutput:
    rows = len(scores)
    return ModelOutput(
        logits={"color": torch.tensor(scores)},
        image_embeds=torch.tensor([[9.0, 1.0], [9.0, -1.0], [9.0, 1.0]])[:rows],
        text_embeds=torch.ones(rows, 2),
    )


def test_a_fitted_checkpoint_reads_pictures_anew_where_there_is_one() -> None:
    # The second number of a picture's embedding says blue; the text's say nothing.
    sees_blue = ScoreCorrection(
        embeds_weight=((0, 0, 0, 0, 0, 0), (0, 5, 0, 0, 0, 0)), bias=(0.0, 0.0)
    )
    predictor = _make_predictor(corrections={"color": sees_blue})
    output = _output([[2.0, 0.0]] * 3)
    rows = predictor.predict(output, [Modalities.IMAGE_AND_TEXT, Modalities.IMAGE, Modalities.TEXT])
    assert [answer.label for (answer,) in rows] == ["blue", "red", "red"]


def test_an_answer_is_held_against_the_threshold_of_what_it_was_read_from() -> None:
    predictor = _make_predictor(thresholds=(0.5, 0.9, 0.6))
    rows = predictor.predict(_output([[1.0, 0.0]] * 3), [*Modalities])
    assert [answer.abstained for (answer,) in rows] == [False, True, False]


def test_a_confidence_that_is_no_number_is_no_answer() -> None:
    ((answer,),) = _make_predictor().predict(_output([[torch.nan, 0.0]]), [Modalities.TEXT])
    assert answer.abstained


def test_the_next_three_labels_stand_beside_an_answer_the_likeliest_first() -> None:
    predictor = _make_predictor(labels=("red", "blue", "green", "pink", "white"))
    ((answer,),) = predictor.predict(_output([[0.0, 4.0, 1.0, 3.0, 2.0]]), [Modalities.TEXT])
    assert answer.label == "blue"
    assert [one.label for one in answer.alternatives] == ["pink", "white", "green"]
