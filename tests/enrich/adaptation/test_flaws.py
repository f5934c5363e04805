"""Labels that say little of a shop are told from those that say much."""

import pytest
import torch
from adaptations import make_answers

from enrich.adaptation.adapt import find_doubt, find_flaw
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


def test_a_shop_that_is_read_badly_is_no_flaw_but_a_doubt() -> None:
    for right, doubted in ((1, True), (2, True), (3, False)):
        labels = [one if row % 5 < right else (one + 1) % 4 for row, one in enumerate(ANSWERED)]
        answers = _answers(ANSWERED, labels)
        assert find_flaw(answers, CALIBRATED, NAMES) is None
        doubt = find_doubt(answers, CALIBRATED, NAMES)
        assert (doubt is not None) == doubted
        assert doubt is None or f"right in {right * 20}% of these products, far" in doubt


def test_labels_that_are_often_answered_and_never_given_are_named() -> None:
    # Products of two colors; a fifth of them is taken for others.
    answered = [0, 1] * 40 + [2] * 8 + [3] * 12
    told = find_doubt(_answers(answered, [0, 1] * 50), CALIBRATED, NAMES)
    assert told is not None
    assert told.startswith("20% of these products are answered as 'white', 'red', and none is")
    assert "has no such products: if it has, label products that --suggest names" in told


def test_a_rare_label_that_is_missing_is_not_worth_a_word() -> None:
    answers = _answers([0, 1] * 45 + [2] * 10, [0, 1] * 50)
    assert find_doubt(answers, CALIBRATED, NAMES) is None
    assert find_doubt(_answers(ANSWERED, ANSWERED), CALIBRATED, NAMES) is None
