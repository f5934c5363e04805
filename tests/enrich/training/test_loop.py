"""Phases, epochs, the best weights, and runs that are killed and go on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import labelled_products

from enrich.errors import ConfigError
from enrich.settings_files import load_yaml
from enrich.training.batches import Batches
from enrich.training.caches import CachedImages
from enrich.training.config import Phase, TrainingConfig
from enrich.training.labelled import TEST
from enrich.training.loop import Trainer, digest_products
from enrich.training.pretrained import load_efficientnet_weights

HEADS = Phase(loss="multitask", epochs=3, learning_rate=3e-3)
WARM_UP = Phase(loss="contrastive", epochs=1, learning_rate=1e-3)
WHOLE = Phase(loss="multitask", epochs=2, learning_rate=1e-3, tower_learning_rate=1e-3)


Make = Callable[..., Trainer]


def _weights(classifier):
    return {name: t.detach().clone() for name, t in classifier.state_dict().items()}


def _same(left, right):
    return left.keys() == right.keys() and all(t.equal(right[name]) for name, t in left.items())


def _train(trainer):
    trainer.train()
    return _weights(trainer.classifier)


def _last_state(trainer):
    """Return the state after the last epoch, not only the best one that is kept."""
    return torch.load(trainer.folder / "training_state.pt", weights_only=True)


@pytest.mark.filterwarnings("ignore:.*non-meta parameter")
def test_a_resumed_run_keeps_no_more_on_the_device_than_the_killed_one(make, monkeypatch):
    make("a", HEADS).train()
    monkeypatch.setattr("enrich.training.loop.local_device", lambda: torch.device("meta"))
    resumed = make("a", HEADS)
    stepper_state = resumed.resume()
    assert {tensor.device.type for tensor in resumed.best.values()} == {"cpu"}
    moments = stepper_state["optimiser"]["state"].values()
    assert {tensor.device.type for one in moments for tensor in one.values()} == {"cpu"}


def test_a_finished_run_is_not_trained_again(make, monkeypatch):
    weights = _train(make("a", HEADS))
    monkeypatch.setattr(Trainer, "train_epoch", None)
    assert _same(weights, _train(make("a", HEADS)))


def test_the_state_of_another_configuration_is_refused_and_kept(make):
    trained = _train(make("a", HEADS))
    with pytest.raises(ConfigError, match=r"other settings \(seed, accumulate\)"):
        make("a", HEADS, seed=1, accumulate=2).train()
    assert _same(trained, _train(make("a", HEADS)))


def test_frozen_phases_leave_the_backbone_as_it_was(make):
    trainer = make("a", WARM_UP, HEADS)
    backbone = trainer.classifier.image_tower.pretrained()
    before, others = _weights(backbone), _weights(trainer.classifier.text_tower)
    trainer.train()
    assert list(trainer.folder.glob("image_features-*-0.npy")), "its features are computed once"
    assert _same(before, _weights(backbone))
    assert not _same(others, _weights(trainer.classifier.text_tower))


def test_an_unfrozen_phase_trains_the_backbone_but_not_its_statistics(make):
    trainer = make("a", HEADS, WHOLE)
    backbone = trainer.classifier.image_tower.pretrained()
    before = _weights(backbone)
    trainer.train_phase(0, HEADS, None)
    trainer.train_phase(1, WHOLE, None)
    after = _weights(backbone)
    changed = {name for name, tensor in before.items() if not tensor.equal(after[name])}
    assert changed and not any("running" in name for name in changed)


def _scored(monkeypatch, *scores):
    """Give each epoch its score; returns the list of the weights that were scored."""
    left, scored = iter(scores), []

    def score(classifier, *given):
        scored.append(_weights(classifier))
        return next(left)

    monkeypatch.setattr("enrich.training.loop.selection_score", score)
    return scored


@pytest.mark.parametrize("phase", [HEADS, WARM_UP.model_copy(update={"epochs": 3})])
def test_the_best_epoch_is_kept_and_not_the_last(make, monkeypatch, phase):
    states = _scored(monkeypatch, 0.2, 0.9, 0.4)
    kept = _train(make("a", phase))
    assert _same(kept, states[1]) and not _same(kept, states[2]) and not _same(kept, states[0])


def test_the_average_of_the_weights_is_what_is_weighed_and_kept(make, monkeypatch):
    scored = _scored(monkeypatch, 0.1, 0.2, 0.3)
    trainer = make("a", HEADS, ema=0.999)
    before = _weights(trainer.classifier)
    kept = _train(trainer)
    last = _last_state(trainer)
    assert _same(kept, scored[-1]) and _same(kept, last["average"])
    assert not _same(kept, last["classifier"])
    # A decay of 0.999 from the first step on would leave it where it started.
    name = "heads.color.0.weight"
    drift = (kept[name] - before[name]).norm() / (last["classifier"][name] - before[name]).norm()
    assert 0.5 < drift < 1.1


def test_an_average_has_the_frozen_tower_that_its_heads_are_scored_on(make, monkeypatch):
    _scored(monkeypatch, 0.1, 0.2, 0.3, 0.4, 0.5)
    kept = _train(trainer := make("a", WHOLE, HEADS, ema=0.999))
    last = _last_state(trainer)["classifier"]
    same = {name for name in kept if kept[name].equal(last[name])}
    tower = {name for name in kept if name.startswith("image_tower.backbone.")}
    assert tower and tower <= same < kept.keys()


def test_without_phases_the_classifier_stays_as_it_is(make):
    trainer = make("a")
    before = _weights(trainer.classifier)
    assert _same(_train(trainer), before)


def test_training_learns_what_is_plain_to_see(make):
    trainer = make("a", Phase(loss="multitask", epochs=8, learning_rate=1e-2))
    trainer.train()
    assert trainer.progressed.best_score > 0.9


def test_published_weights_fill_the_whole_backbone(make):
    backbone = make("a", HEADS).classifier.image_tower.pretrained()
    before = _weights(backbone)
    load_efficientnet_weights(backbone)
    kept = {name for name, t in _weights(backbone).items() if t.equal(before[name])}
    assert kept <= {name for name in before if name.endswith("num_batches_tracked")}


def test_a_contrastive_phase_over_a_frozen_clip_is_refused(tmp_path):
    file = tmp_path / "clip.yaml"
    text = (
        "name: a\ntowers: openai/clip\nphases: [{loss: contrastive, epochs: 1, learning_rate: 1}]"
    )
    file.write_text(text)
    with pytest.raises(ConfigError, match="tower_learning_rate of 0"):
        load_yaml(file, TrainingConfig)
    file.write_text(text.replace("learning_rate", "tower_learning_rate: 1, learning_rate"))
    assert load_yaml(file, TrainingConfig).phases[0].tower_learning_rate == 1


PRODUCTS = labelled_products(
    ["a", "b"], "shop", image_paths=["a.jpg", None], targets=np.zeros((2, 3), dtype=np.int64)
)
PIXELS = np.zeros((2, 3, 8, 8), dtype=np.uint8)
IMAGES = CachedImages(PIXELS, np.array([True, False]), Path("cache/images-1"))


@pytest.mark.parametrize(
    ("changed", "is_the_same"),
    [
        ({"products": replace(PRODUCTS, image_roots=["shop", "other"])}, False),
        ({"products": replace(PRODUCTS, split=np.array([0, TEST]))}, False),
        ({"images": replace(IMAGES, folder=Path("cache/images-2"))}, False),
        ({"images": replace(IMAGES, has_image=np.array([True, True]))}, False),
        ({}, True),
        # Where the files of a run lie changes nothing.
        ({"images": replace(IMAGES, folder=Path("moved/images-1"))}, True),
    ],
)
def test_other_products_or_pictures_are_another_run(make, changed, is_the_same):
    known = make("a").batches
    given = {"products": PRODUCTS, "images": IMAGES}
    before, after = (
        digest_products(
            Batches(**some, encoder=known.encoder, label_words=known.label_words), np.arange(2)
        )
        for some in (given, given | changed)
    )
    assert (before == after) == is_the_same
