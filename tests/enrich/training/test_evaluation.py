"""Answer are taken and measured as the job would give them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import labelled_products

from enrich.adaptation.widening import widened
from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.manifest import read_manifest
from enrich.lexicon import Lexicon
from enrich.records import Modalities
from enrich.settings_files import load_yaml
from enrich.training.answers import Answers, CalibratedAnswers
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, Condition, shown_in_training
from enrich.training.caches import CachedImages
from enrich.training.config import TrainingConfig
from enrich.training.evaluation import answer, apply_calibration, evaluate, measure_answers
from enrich.training.fitting import calibrate
from enrich.training.labelled import UNLABELLED

BOTH, IMAGE, TEXT = Modalities.IMAGE_AND_TEXT, Modalities.IMAGE, Modalities.TEXT


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint, tmp_path_factory):
    """The tiny classifier, and products of all kinds: the last one has nothing to read."""
    classifier, encoder = load_classifier(read_manifest(tiny_checkpoint), torch.device("cpu"))
    texts = ["red shirt", "blue shoes", "", "green dress", "white", ""]
    targets = [[0, 1, 0], [2, UNLABELLED, 1], [1, 0, 0], [1, 1, 1], [3, UNLABELLED, 0], [0, 0, 0]]
    groups = np.array([0, 1, 2, 3, 3, 4])
    products = labelled_products(texts, targets=np.array(targets), groups=groups)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 64, 64), dtype=np.uint8)
    has_image = np.array([True, True, True, True, False, False])
    images = CachedImages(pixels, has_image, tmp_path_factory.mktemp("cache"))
    words = LabelWords(classifier.config.attributes, Lexicon({}))
    return classifier, Batches(products, images, encoder, words)


def test_unlabelled_rows_and_rows_without_anything_to_read_are_left_out(loaded):
    answers = answer(*loaded, np.arange(6), Condition.AS_IS)
    assert answers["color"].targets.tolist() == [0, 2, 1, 1, 3]
    assert answers["color"].groups.tolist() == [0, 1, 2, 3, 3]
    assert answers["pattern"].targets.tolist() == [1, 0, 1]
    assert answers["pattern"].modalities == [BOTH, IMAGE, BOTH]
    assert answers["pattern"].logits.shape == (3, 3)
    nothing = answer(*loaded, np.array([5]), Condition.AS_IS)
    assert [len(found.targets) for found in nothing.values()] == [0, 0, 0]


def test_labels_of_an_added_attribute_are_looked_for_in_descriptions_too(loaded, tiny_checkpoint):
    manifest = read_manifest(tiny_checkpoint)
    added = {"color": manifest.config.attributes["color"], "fabric": ("cotton", "denim")}
    with widened(manifest, manifest.config.answers | added) as wide:
        classifier, encoder = load_classifier(wide, torch.device("cpu"))
    known = loaded[1]
    wordings = [("A shirt", "of denim, not red"), ("a red shirt", None), *[("", None)] * 4]
    products = replace(known.products, wordings=wordings)
    batches = Batches(products, known.images, encoder, known.label_words)
    found = answer(classifier, batches, np.arange(2), Condition.AS_IS, added)
    assert found["fabric"].named.tolist() == [[False, True]]
    assert not found["color"].named[0].any() and found["color"].named[1].any()


@pytest.mark.parametrize(
    ("condition", "modalities", "image_weight"),
    [
        (Condition.AS_IS, [BOTH, BOTH, IMAGE, BOTH, TEXT], None),
        (Condition.NO_TEXT, [IMAGE, IMAGE, IMAGE, IMAGE, TEXT], [1, 1, 1, 1, 0]),
        (Condition.NO_IMAGE, [TEXT, TEXT, IMAGE, TEXT, TEXT], [0, 0, 1, 0, 0]),
    ],
)
def test_modalities_are_those_that_a_condition_leaves(loaded, condition, modalities, image_weight):
    answers = answer(*loaded, np.arange(6), condition)["color"]
    assert answers.modalities == modalities
    assert image_weight in (None, answers.image_weight.tolist())


def test_calibration_uses_conditions_that_training_has_shown(loaded, monkeypatch):
    asked: list[Condition] = []

    def note(*given):
        asked.append(given[-1])
        return answer(*given)

    monkeypatch.setattr("enrich.training.fitting.answer", note)
    calibrate(*loaded, np.arange(6), np.arange(6), {Condition.AS_IS})
    assert asked == [Condition.AS_IS, Condition.NO_TEXT, Condition.NO_IMAGE]


def _answers(modalities, logits, targets, image_weight=None):
    every = torch.arange(len(modalities))
    embeds, named = torch.ones(len(every), 2), torch.zeros(len(every), 2, dtype=torch.bool)
    wanted = torch.tensor(targets)
    return Answers(every, every, modalities, logits, embeds, wanted, image_weight, named)


def test_image_weights_are_used_for_rows_of_both_modalities():
    answers = _answers([BOTH, BOTH, IMAGE], torch.zeros(3, 2), [0, 1, 0], torch.rand(3))
    assert answers.to_calibrate().image_weight is None
    for rows in (answers.product < 2, answers.product > 2):
        assert answers.where(rows).to_calibrate().image_weight is not None


def test_each_row_is_calibrated_by_the_modalities_it_has(calibration):
    answers = _answers([BOTH, IMAGE, TEXT], torch.tensor([[2.0, 0.0]] * 3), [0, 0, 1])
    calibrated = apply_calibration(calibration, "style", answers)
    # The temperatures of image and text, image, and text are 0.5, 1 and 2.
    wanted = torch.tensor([4.0, 2.0, 1.0]).sigmoid()
    torch.testing.assert_close(calibrated.probs[:, 0], wanted)
    assert calibrated.thresholds[0.90].tolist() == pytest.approx([0.52, 0.53, 0.51])
    assert apply_calibration(calibration, "pattern", answers).thresholds[0.95].isinf().all()


def test_figures_tell_before_from_after_calibration():
    logits, weights = torch.tensor([[0.95, 0.05]] * 4).log(), torch.tensor([0.0, 0.5, 0.5, 1.0])
    answers = _answers([BOTH] * 4, logits, [0, 0, 0, 1], weights)
    thresholds = {0.90: torch.tensor([0.7, 0.7, 0.9, 0.7])}
    calibrated = torch.tensor([[0.75, 0.25]] * 4)
    figures = measure_answers(CalibratedAnswers(answers, calibrated, thresholds))
    assert figures["ece"] == 0 and figures["ece_before_calibration"] == pytest.approx(0.2)
    assert figures["precision_at_90_threshold"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["answered_at_90_threshold"] == 0.75
    assert figures["mean_image_weight"] == 0.5 and figures["accuracy"] == 0.75


def test_evaluation_reports_every_condition(loaded, calibration):
    figures, truths = evaluate(*loaded, np.arange(6), calibration)
    assert list(figures) == [condition.value for condition in Condition]
    for by_attribute in figures.values():
        assert [found["rows"] for found in by_attribute.values()] == [5, 3, 5]
        assert all("mean_image_weight" in found for found in by_attribute.values())
    # The fixture's calibration answers color always and pattern never.
    color, pattern = figures["as is"]["color"], figures["as is"]["pattern"]
    assert color["answered_at_95_threshold"] == 1
    assert color["precision_at_95_threshold"] == color["accuracy"]
    assert pattern["answered_at_95_threshold"] == 0
    assert pattern["precision_at_95_threshold"] is None
    # Two of the five are one group.
    assert sum(one.rows for one in truths["color"].values()) == 4
    assert all(one.given == 0 for one in truths["pattern"].values())
    nothing, _ = evaluate(*loaded, np.array([5]), calibration)
    assert nothing["text removed"]["style"] == {"rows": 0}


EVERY = {*Condition} - {Condition.OTHER_TEXT}


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ("training_small", {*Condition}),
        ("training_image_tower", {Condition.NO_TEXT}),
        ("training_food101", {Condition.AS_IS}),
        ({"drop_text": 0.5, "drop_image": 0.4, "mask_label_words": 0.1}, EVERY),
        # Every row lacks one of the two.
        ({"drop_text": 0.5, "drop_image": 0.5, "mask_label_words": 0.1}, EVERY - {Condition.AS_IS}),
    ],
)
def test_an_epoch_is_chosen_under_conditions_that_its_training_shows(config, shown):
    if isinstance(config, str):
        conf = Path(__file__).parents[3] / "jobs" / "conf"
        assert shown_in_training(load_yaml(conf / f"{config}.yaml", TrainingConfig)) == shown
    else:
        assert shown_in_training(TrainingConfig(name="a", phases=(), **config)) == shown
