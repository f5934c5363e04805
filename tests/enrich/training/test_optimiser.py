"""A step of the weights: in whatever parts and number format, the batch's own."""

from collections.abc import Callable

import pytest
import torch

from enrich.classifiers.small_towers import EfficientNetTower
from enrich.errors import ConfigError
from enrich.training import optimiser
from enrich.training.batches import count_labelled, deal
from enrich.training.config import Phase
from enrich.training.loop import Trainer
from enrich.training.optimiser import Objective, Stepper, build_optimiser, schedule

HEADS = Phase(loss="multitask", epochs=3, learning_rate=3e-3)
Make = Callable[..., Trainer]


def _compute_in(dtype, monkeypatch):
    monkeypatch.setattr("enrich.engine.device.choose_dtype", lambda _: dtype)
    monkeypatch.setattr(optimiser, "choose_dtype", lambda _: dtype)
    # A GPU merges no layers, and few CPUs convolve in float16.
    monkeypatch.setattr(EfficientNetTower, "fuse", lambda _: None)


def _gradients(trainer):
    """Return the gradients of the first batch, with nothing hidden and no dropout."""
    classifier = trainer.classifier.eval()
    objective = Objective(classifier, HEADS, trainer.config)
    hidden = ("drop_text", "drop_image", "mask_label_words")
    config = trainer.config.model_copy(update=dict.fromkeys(hidden, 0.0))
    trainer.batches.cache_features(classifier)
    parts = next(deal(trainer.batches, trainer.train_rows, config, (0, 0, 0), 0))
    assert len(parts) == trainer.config.accumulate
    whole = count_labelled(torch.cat([part.targets for part in parts]))
    assert all(part.labelled.equal(whole) for part in parts)
    for part in parts:
        objective(part).backward()
    return {n: p.grad for n, p in classifier.named_parameters() if p.grad is not None}


def test_a_batch_in_parts_has_the_gradients_of_the_batch_in_one(make, monkeypatch):
    _compute_in(torch.float32, monkeypatch)
    trainer = make("a", HEADS)
    trainer.batches.products.targets[1::3, 0] = -100
    wanted = _gradients(trainer)
    found = _gradients(make("b", HEADS, accumulate=3))
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


def test_half_precision_that_would_lose_small_gradients_scales_them(make, monkeypatch):
    _compute_in(torch.float16, monkeypatch)
    trainer = make("a", Phase(loss="multitask", epochs=8, learning_rate=1e-2))
    trainer.train()
    assert trainer.progressed.best_score > 0.9
    state = torch.load(trainer.folder / "training_state.pt", weights_only=True)
    assert state["stepper"]["scaler"]["scale"] > 1


def _step(trainer, scale=None):
    """Take the first step of a training; `scale` is that of its gradients."""
    stepper = Stepper(trainer.classifier, HEADS, trainer.config)
    if scale is not None:
        state = stepper.state_dict()
        stepper.load_state_dict(state | {"scaler": state["scaler"] | {"scale": scale}})
    trainer.batches.cache_features(trainer.classifier)
    parts = deal(trainer.batches, trainer.train_rows, trainer.config, (0, 0, 0), 0)
    stepper.step(next(parts), 0.5)
    return stepper


def test_a_step_whose_scaled_gradients_overflow_is_left_out(make, monkeypatch):
    _compute_in(torch.float16, monkeypatch)
    trainer = make("a", HEADS)
    before = {n: p.clone() for n, p in trainer.classifier.named_parameters()}
    stepper = _step(trainer, scale=2.0**127)
    assert all(p.equal(before[n]) for n, p in trainer.classifier.named_parameters())
    assert stepper.state_dict()["scaler"]["scale"] == 2.0**126


def test_bfloat16_needs_no_scale(make, monkeypatch):
    _compute_in(torch.bfloat16, monkeypatch)
    trainer = make("a", HEADS)
    stepper = Stepper(trainer.classifier, HEADS, trainer.config)
    assert stepper.state_dict()["scaler"] == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gradients_are_clipped_without_their_scale_and_those_of_frozen_parts(
    make, monkeypatch, dtype
):
    _compute_in(dtype, monkeypatch)
    trainer = make("a", HEADS, gradient_clip=1e-3)
    frozen = {*trainer.classifier.image_tower.pretrained().parameters()}
    for parameter in frozen:
        # An earlier phase has left them.
        parameter.grad = torch.full_like(parameter, 1e3)
    _step(trainer)
    trained = [p for p in trainer.classifier.parameters() if p not in frozen]
    length = torch.stack([p.grad.norm() for p in trained if p.grad is not None]).norm()
    assert length.item() == pytest.approx(1e-3, rel=1e-2)


def test_a_loss_that_is_no_number_stops_the_run(make, monkeypatch):
    monkeypatch.setattr(
        "enrich.training.optimiser.label_loss",
        lambda logits, *_: logits["color"].sum() * float("nan"),
    )
    with pytest.raises(ConfigError, match="found nan"):
        make("a", HEADS).train()


def test_a_phase_that_would_train_nothing_is_refused(make):
    classifier = make("a", HEADS).classifier
    classifier.pretrained = lambda: [classifier]  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="cannot train cma_clip"):
        build_optimiser(classifier, HEADS, 0.0)


def test_learning_rates_rise_and_then_fall_to_nothing():
    assert [schedule(share, 0.2) for share in (0.0, 0.1, 0.2)] == [0, 0.5, 1]
    assert schedule(0.6, 0.2) == pytest.approx(0.5)
    assert schedule(1.0, 0.2) == pytest.approx(0)
    assert schedule(0.0, 0.0) == 1


def test_modules_have_rates_of_their_own_and_norms_and_biases_do_not_decay(make):
    phase = HEADS.model_copy(update={"tower_learning_rate": 1e-5})
    classifier = make("a", phase).classifier
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    found = {
        parameter: (group["peak_lr"], group["weight_decay"])
        for group in build_optimiser(classifier, phase, weight_decay=0.1).param_groups
        for parameter in group["params"]
    }
    assert found == {
        p: (1e-5 if p in pretrained else 3e-3, 0.1 if p.ndim > 1 else 0.0)
        for p in classifier.parameters()
    }
    assert 0 < len(pretrained) < len(found)
