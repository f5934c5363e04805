"""Soft labels: each picture is answered by the training that has not seen it."""

import shutil

import numpy as np
import pytest
import torch

from enrich.classifiers.checkpoint import add_to_weights, load_classifier
from enrich.classifiers.manifest import read_manifest
from enrich.training import loop
from enrich.training.batches import Condition
from enrich.training.config import Phase, TrainingConfig
from enrich.training.evaluation import answer
from enrich.training.optimiser import soft_loss
from enrich.training.soft_labels import cross_fit_labels

HEADS = Phase(loss="multitask", epochs=1, learning_rate=1e-3)


@pytest.fixture(scope="module")
def halves(tiny_checkpoint, small_config, tmp_path_factory):
    """Two checkpoints with different answers."""
    other = tmp_path_factory.mktemp("half") / "one"
    shutil.copytree(tiny_checkpoint, other)
    add_to_weights(
        other, {f"heads.{attribute}.0.bias": 2.0 for attribute in small_config.attributes}
    )
    return tiny_checkpoint, other


def _answers(checkpoint, batches, rows):
    classifier, _ = load_classifier(read_manifest(checkpoint), torch.device("cpu"))
    found = answer(classifier, batches, rows, Condition.NO_TEXT)
    return torch.cat([of.logits.softmax(1) for of in found.values()], dim=1)


def _soften(trainer, halves, attributes=None):
    attributes = attributes or trainer.classifier.config.attributes
    found = cross_fit_labels(trainer.batches, attributes, halves, trainer.train_rows, views=1)
    return torch.from_numpy(found)


def test_a_picture_is_answered_by_the_half_that_has_not_seen_it(make, halves):
    trainer = make("soft")
    soft, rows, half = _soften(trainer, halves), trainer.train_rows, trainer.batches.products.half
    answers = [_answers(one, trainer.batches, np.arange(40)) for one in halves]
    assert (answers[0] - answers[1]).abs().max() > 0.01
    for number, other in enumerate(reversed(answers)):
        mine = rows[half[rows] == number]
        torch.testing.assert_close(soft[mine], other[mine], rtol=0.02, atol=0.01)
    assert not soft[trainer.validation_rows].any()


def test_labels_that_a_half_does_not_know_get_nothing(make, halves, small_config):
    trainer = make("others")
    color, style = (list(small_config.attributes[one]) for one in ("color", "style"))
    wanted = {
        "style": style,
        "season": ["dry", "wet"],
        "color": ["mauve", *reversed(color)],
        "pattern": ["unheard of"],
    }
    rows = trainer.train_rows
    soft, known = _soften(trainer, halves, wanted)[rows], _soften(trainer, halves)[rows]
    of_color, of_style = known[:, : len(color)], known[:, -len(style) :]
    of_season_and_mauve, of_pattern = torch.zeros(len(rows), 3), torch.zeros(len(rows), 1)
    expected = [of_style, of_season_and_mauve, of_color.flip(1), of_pattern]
    torch.testing.assert_close(soft, torch.cat(expected, dim=1))


def test_the_loss_is_least_for_the_probabilities_themselves():
    wanted = torch.tensor([[0.7, 0.3, 0.5, 0.5], [0.2, 0.8, 0.0, 0.0]])
    exact = {"color": wanted[:, :2].log(), "style": torch.zeros(2, 2)}
    least = soft_loss(exact, wanted)
    entropy = -(wanted[:, :2] * wanted[:, :2].log()).sum(1).mean()
    # The second row has no soft labels of style.
    torch.testing.assert_close(least, (entropy + torch.tensor(2.0).log() / 2) / 2)
    assert soft_loss(exact | {"color": torch.zeros(2, 2)}, wanted) > least


def test_a_training_learns_its_soft_labels(make, halves, small_config, monkeypatch):
    """Every picture is said to have the last color, whatever its label."""
    colors = len(small_config.attributes["color"])

    def teach(batches, attributes, *_):
        soft = np.zeros((len(batches.products), sum(map(len, attributes.values()))), np.float32)
        soft[:, colors - 1] = 1
        return soft

    monkeypatch.setattr(loop, "cross_fit_labels", teach)
    tower = {"tower_learning_rate": 1e-3, "upper_stages_only": True}
    phase = Phase(loss="multitask", epochs=10, learning_rate=1e-2, **tower)
    trainer = make(
        "taught", phase, drop_text=1.0, drop_image=0.0, half_towers=halves, soft_labels=1.0
    )
    trainer.train()
    found = answer(trainer.classifier, trainer.batches, np.arange(40), Condition.NO_TEXT)
    assert (found["color"].logits.argmax(1) == colors - 1).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [({"drop_text": 1.0}, "without half_towers"), ({"half_towers": ("a", "b")}, "pictures alone")],
)
def test_soft_labels_without_effect_are_refused(given, said):
    with pytest.raises(ValueError, match=f"soft_labels have no effect.* {said}"):
        TrainingConfig(name="a", phases=(HEADS,), drop_image=0.0, soft_labels=0.5, **given)
