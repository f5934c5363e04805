"""Labels that say little of a shop are told from those that say much."""

import pytest
import torch
from adaptations import make_answers

from enrich.adaptation.adapt import find_flaw
from enrich.calibration import CalibratedModalities
from enrich.records import Modalities
from enrich.training.answers import Answers

NAMES = ("black", "blue", "red", "white")
CALIBRATED = dict.fromkeys(
    Modalities, CalibratedModalities(temperature=1, thresholds={"0.90": 0.8, "0.95": None}, rows=9)
)


def _answers(answered: list[int], labels: list[int], sureness: float = 3.0) -> Answers:
    logits = sureness * torch.nn.functional.one_hot(torch.tensor(answered), len(NAMES)).float()
    return make_answers(logits, torch.tensor(labels), Modalities.TEXT)


ANSWERED = [row % 4 for row in range(100)]


@pytest.mark.parametrize("answered", [ANSWERED, [1] * 100])
def test_labels_of_one_value_say_nothing_of_the_others(answered: list[int]) -> None:
    flaw = find_flaw(_answers(answered, [1] * 100), CALIBRATED, NAMES)
    assert flaw is not None and flaw.startswith("all its labels are 'blue'")


def test_mistakes_alone_are_no_sample_of_a_shop() -> None:
    mistakes = [(row + 1) % 4 for row in ANSWERED]
    flaw = find_flaw(_answers(ANSWERED, mistakes), CALIBRATED, NAMES)
    assert flaw is not None and flaw.startswith("the classifier is right in 0% of these products")
    # A classifier that knows that it does not know is wrong as often as it says.
    assert find_flaw(_answers(ANSWERED, mistakes, 0.1), CALIBRATED, NAMES) is None


@pytest.mark.parametrize("right", [1, 2, 3])
def test_a_shop_that_is_read_badly_is_no_flaw(right: int) -> None:
    labels = [one if row % 5 < right else (one + 1) % 4 for row, one in enumerate(ANSWERED)]
    assert find_flaw(_answers(ANSWERED, labels), CALIBRATED, NAMES) is None
