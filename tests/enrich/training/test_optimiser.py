"""A step of the weights, whatever its parts and number format; each loss by its formula."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.config import HuggingFaceTowers, OpenClipTowers
from enrich.classifiers.interface import (
    IMAGE,
    TEXT,
    Classifier,
    ModelInputs,
    ModelOutput,
    Tokens,
    Vectors,
)
from enrich.classifiers.pooled import NoImageTower, NoTextTower
from enrich.classifiers.small_towers import EfficientNetTower
from enrich.classifiers.towers import Encoded, ImageTower, TextEncoder, TextTower
from enrich.engine.device import autocast
from enrich.errors import ConfigError
from enrich.training import optimiser
from enrich.training.augmentation import build_transform
from enrich.training.batches import Part, count_labelled, deal
from enrich.training.config import Phase, TrainingConfig
from enrich.training.loop import Trainer
from enrich.training.optimiser import (
    UNLABELLED,
    Objective,
    Stepper,
    build_optimiser,
    contrastive_loss,
    label_loss,
    matching_loss,
    schedule,
)

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


def _loss(logits, targets, label_smoothing=0.0):
    """Return the loss of rows that are a whole batch."""
    return label_loss(logits, targets, label_smoothing, count_labelled(targets))


def test_unlabelled_rows_do_not_change_the_loss():
    torch.manual_seed(0)
    logits = {"color": torch.randn(4, 3), "style": torch.randn(4, 2)}
    targets = torch.tensor([[0, 1], [2, 0], [1, 1], [0, 0]])
    loss = _loss(logits, targets, 0.1)
    wider = {
        a: torch.cat([scores, 50 * torch.randn(6, scores.shape[1])]) for a, scores in logits.items()
    }
    padded = torch.cat([targets, torch.full((6, 2), UNLABELLED)])
    torch.testing.assert_close(_loss(wider, padded, 0.1), loss)


@pytest.mark.parametrize(
    ("colors", "wanted"),
    [
        ([0, UNLABELLED, UNLABELLED], (math.log(4) + math.log(2)) / 2),
        # Without any label in the batch an attribute adds nothing.
        ([UNLABELLED] * 3, math.log(2) / 2),
    ],
)
def test_loss_is_the_mean_over_attributes_of_the_mean_over_labelled_rows(colors, wanted):
    logits = {"color": torch.zeros(3, 4, requires_grad=True), "style": torch.zeros(3, 2)}
    loss = _loss(logits, torch.tensor([colors, [1, 0, 1]]).T)
    assert loss.item() == pytest.approx(wanted)
    loss.backward()
    assert logits["color"].grad.any() == (max(colors) >= 0)


def test_contrast_of_no_product_is_zero_and_moves_no_weight():
    nothing = torch.empty(0, 8, requires_grad=True)
    loss = contrastive_loss(nothing, nothing, torch.empty(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0


def test_contrast_is_least_where_pictures_meet_their_own_texts():
    embeds, groups = torch.eye(4), torch.arange(4)
    matched = contrastive_loss(embeds, embeds, groups)
    assert matched < 0.01
    assert contrastive_loss(embeds, embeds.roll(1, 0), groups) > 10
    same = torch.ones(4, 4)
    assert contrastive_loss(same, same, groups).item() == pytest.approx(math.log(4), abs=1e-4)


def test_contrast_does_not_part_near_identical_products():
    embeds = torch.eye(4)
    embeds[1] = embeds[0]
    apart = contrastive_loss(embeds, embeds, torch.arange(4))
    grouped = contrastive_loss(embeds, embeds, torch.tensor([0, 0, 1, 2]))
    assert apart > 0.3 and grouped < 0.01


def test_contrast_looks_at_directions_and_is_the_same_from_both_sides():
    torch.manual_seed(1)
    image, text, groups = torch.randn(5, 8), torch.randn(5, 8), torch.arange(5)
    longer = contrastive_loss(0.01 * text, 100 * image, groups)
    torch.testing.assert_close(longer, contrastive_loss(image, text, groups))


def test_a_match_is_told_by_a_score_above_zero():
    scores, own_text = torch.tensor([2.0, -2.0, 2.0]), torch.tensor([True, False, False])
    right, wrong = F.softplus(torch.tensor([-2.0, 2.0]))
    torch.testing.assert_close(matching_loss(scores, own_text), (2 * right + wrong) / 3)


YES = torch.ones(2, dtype=torch.bool)
FIRST = torch.tensor([True, False])


def two_rows(has_image):
    """Half a batch, the other half of which has no label."""
    ones = torch.tensor([[1], [1]])
    return Part(
        inputs=ModelInputs(torch.zeros(2, 1, dtype=torch.long), YES.view(2, 1), has_image, YES),
        targets=ones,
        image_targets=ones,
        groups=torch.arange(2),
        labelled=torch.tensor([2]),
        own_text=YES,
        share=0.5,
        seed=0,
    )


LABELLED = Phase(loss="multitask", epochs=1, learning_rate=1e-3)


def _objective(classifier, loss="multitask", image_alone=0.0):
    phase = LABELLED.model_copy(update={"loss": loss})
    config = TrainingConfig(name="a", phases=(phase,), image_alone=image_alone, captioning=0)
    return Objective(classifier, phase, config)


class Indifferent(Classifier):
    """Answers every label alike, and notes what it is asked."""

    def __init__(self, image_tower, text_tower=None):
        nn.Module.__init__(self)
        self.image_tower, self.text_tower = image_tower, text_tower or TextTower()
        self.asked: list[Vectors] = []

    def towers(self, inputs):
        tokens = Encoded.cls_first(torch.zeros(len(inputs.has_image), 1, 4))
        return Tokens(tokens, tokens, inputs.token_mask)

    def join(self, tokens, has_image, has_text):
        embeds = tokens.image.pooled
        return Vectors({IMAGE: embeds, TEXT: embeds}, has_image, has_text)

    def answer(self, vectors):
        self.asked.append(vectors)
        return ModelOutput({"style": torch.zeros(len(vectors.has_image), 2)}, vectors)


def test_a_picture_is_answered_a_second_time_without_its_text():
    classifier = Indifferent(ImageTower())
    loss = _objective(classifier, image_alone=0.5)(two_rows(has_image=FIRST))
    both, alone = classifier.asked
    assert both.has_text.all() and not alone.has_text.any()
    assert alone.has_image.tolist() == [True]
    # Two answers, and half of one more, of two labelled rows.
    torch.testing.assert_close(loss, torch.tensor(2.0).log() * (2 + 0.5) / 2)


def test_a_picture_alone_is_taught_what_it_shows_whatever_its_text_says():
    class Sure(Indifferent):
        """Answer label 0 to every question."""

        def answer(self, vectors):
            output = super().answer(vectors)
            return replace(output, logits={"style": torch.tensor([[9.0, 0.0]] * 2)})

    objective, part = _objective(Sure(ImageTower()), image_alone=1.0), two_rows(has_image=YES)
    right, wrong = F.softplus(torch.tensor([-9.0, 9.0])).unbind()
    torch.testing.assert_close(objective(part), wrong + wrong)
    shown = replace(part, image_targets=torch.zeros(2, 1, dtype=torch.long))
    torch.testing.assert_close(objective(shown), wrong + right)


@pytest.mark.parametrize(
    ("image_tower", "text_tower", "has_image"),
    [
        (NoImageTower(4), TextTower(), YES),
        (ImageTower(), NoTextTower(4), YES),
        (ImageTower(), TextTower(), ~YES),
    ],
    ids=["no image tower", "no text tower", "no images"],
)
def test_rows_are_answered_once_where_there_is_nothing_to_leave_out(
    image_tower, text_tower, has_image
):
    classifier = Indifferent(image_tower, text_tower)
    _objective(classifier, image_alone=0.5)(two_rows(has_image=has_image))
    assert len(classifier.asked) == 1


@pytest.mark.parametrize(
    ("has_image", "contrast"), [(YES, math.log(2)), (FIRST, 0.0)], ids=["two rows", "one row"]
)
def test_contrast_is_of_rows_that_have_both_modalities(small_config, has_image, contrast):
    classifier = Indifferent(ImageTower())
    classifier.config = small_config
    objective = _objective(classifier, "contrastive")
    assert objective(two_rows(has_image)).item() == pytest.approx(contrast / 2)


@pytest.mark.parametrize(
    ("has_image", "matching"),
    [(FIRST, math.log1p(math.exp(-1.0))), (~YES, 0.0)],
    ids=["one row", "no row"],
)
def test_whether_a_text_matches_is_asked_of_rows_that_have_both_modalities(has_image, matching):
    class Matching(Indifferent):
        """Match the first text with the picture, and surely not the second one."""

        def answer(self, vectors):
            return replace(super().answer(vectors), matching=torch.tensor([1.0, -9.0]))

    objective = _objective(Matching(ImageTower()))
    # It counts half beside the labels, and the part is half a batch.
    wanted = math.log(2) + 0.5 * 0.5 * matching
    assert objective(two_rows(has_image)).item() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "towers", "logit_scale", "temperature"),
    [
        # CLIP's own bound.
        ("clip_zero_shot", "clip", 9.0, 0.01),
        ("cma_clip", "coca", math.log(50), 0.02),
        # It contrasts what a new map makes of the towers.
        ("mmbt", "clip", math.log(50), 0.07),
    ],
)
def test_contrast_begins_at_the_temperature_that_published_towers_ended_at(
    small_config, tokenizer, clip_json, coca_json, name, towers, logit_scale, temperature
):
    chosen = {
        "clip": HuggingFaceTowers(model=clip_json, logit_scale=logit_scale),
        "coca": OpenClipTowers(model=coca_json, logit_scale=logit_scale),
    }[towers]
    config = small_config.model_copy(
        update={"towers": chosen, "classifier": name, "joint_heads": 2}
    )
    torch.manual_seed(0)
    classifier = build_classifier(config, tokenizer.get_vocab_size()).eval()
    classifier.read_tokenizer(TextEncoder(tokenizer, 16))
    ids, mask = TextEncoder(tokenizer, 16)(["red shirt", "blue"])
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).byte()
    part = replace(two_rows(YES), inputs=ModelInputs(ids, mask, YES, YES, pixel_values=pixels))
    objective = _objective(classifier, "contrastive")
    with autocast(classifier.device):
        vectors = classifier.encode(part.inputs)
    wanted = contrastive_loss(vectors.image, vectors.text, part.groups, temperature)
    torch.testing.assert_close(objective(part), part.share * wanted)


def test_listed_transforms_change_each_picture_in_its_own_way_on_the_device():
    torch.manual_seed(0)
    listed = [{"RandomHorizontalFlip": {"p": 0.5}}, {"RandomInvert": {"p": 0.0}}]
    config = TrainingConfig.model_validate(
        {"name": "a", "phases": [LABELLED.model_dump()], "augmentation": listed}
    )
    picture = torch.arange(3 * 4 * 4, dtype=torch.uint8).view(1, 3, 4, 4)
    changed = build_transform(config.augmentation)(picture.expand(40, 3, 4, 4))
    is_flipped = (changed == picture.flip(3)).flatten(1).all(1)
    assert (is_flipped | (changed == picture).flatten(1).all(1)).all()
    assert 5 < is_flipped.sum() < 35
    for wrong in ({"Sparkle": {}}, {"RandomCrop": {}}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            build_transform([wrong])


def test_views_of_another_augmentation_are_refused():
    phase = LABELLED.model_dump() | {"views": 2}
    with pytest.raises(ValueError, match="augmentation does not fit"):
        TrainingConfig.model_validate({"name": "a", "phases": [phase], "augmentation": "off"})
