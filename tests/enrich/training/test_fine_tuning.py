"""How pre-trained towers are trained: adapters, recomputed activations, a rate for each layer."""

from collections.abc import Callable

import pytest
import torch

from enrich.classifiers.checkpoint import build_classifier, load_classifier
from enrich.classifiers.config import HuggingFaceTowers, OpenClipTowers
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.manifest import read_manifest
from enrich.training.config import Lora, Phase, TrainingConfig
from enrich.training.optimiser import add_adapters, build_optimiser, recompute_activations
from enrich.training.run import train_checkpoint

WHOLE = Phase(loss="multitask", epochs=1, learning_rate=1e-3, tower_learning_rate=1e-4)
OPEN_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "patch_size": 32, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2},
}
Build = Callable[[], Classifier]


@pytest.fixture(params=["hugging_face", "open_clip"])
def build(request, small_config, clip_json, tokenizer):
    """Return a function that builds a classifier on towers of two layers, always the same."""
    layers = {f: clip_json[f] | {"num_hidden_layers": 2} for f in ("text_config", "vision_config")}
    towers = {
        "hugging_face": HuggingFaceTowers(model=clip_json | layers),
        "open_clip": OpenClipTowers(model=OPEN_CLIP),
    }[request.param]

    def build():
        torch.manual_seed(2)
        config = small_config.model_copy(update={"towers": towers, "dropout": 0.0})
        return build_classifier(config, tokenizer.get_vocab_size())

    return build


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(3)
    here = torch.ones(2, dtype=torch.bool)
    ids = torch.randint(3, 300, (2, 12), generator=generator)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return ModelInputs(ids, torch.ones_like(ids, dtype=torch.bool), here, here, pixel_values=pixels)


def _loss(classifier, inputs):
    return sum(logits.square().sum() for logits in classifier(inputs).logits.values())


def test_adapters_change_nothing_at_first_and_the_weights_when_they_are_merged(build, inputs):
    plain, adapted = build().eval(), build().eval()
    adapters = add_adapters(adapted, Lora(rank=2, layers=1))
    torch.testing.assert_close(_loss(adapted, inputs), _loss(plain, inputs))
    phase = WHOLE.model_copy(update={"learning_rate": 0.1, "tower_learning_rate": 0.1})
    optimiser = build_optimiser(adapted, phase, 0.0)
    for group in optimiser.param_groups:
        group["lr"] = 1e-2
    for _ in range(2):
        optimiser.zero_grad()
        _loss(adapted, inputs).backward()
        optimiser.step()
    trained = _loss(adapted, inputs)
    for one in adapters:
        one.merge_and_unload()
    torch.testing.assert_close(_loss(adapted, inputs), trained, rtol=1e-3, atol=1e-4)
    before, after = plain.state_dict(), adapted.state_dict()
    assert before.keys() == after.keys()
    towers = {n for n in before if "_tower." in n and not before[n].equal(after[n])}
    # Weights of the upper layer of two, and those alone.
    assert towers and all(".1." in name and "bias" not in name for name in towers)


def test_recomputed_activations_give_the_same_gradients(build, inputs):
    plain, thrifty = build().train(), build().train()
    recompute_activations(thrifty)
    passes = []
    layers = [m for m in thrifty.image_tower.modules() if type(m).__name__.endswith("MLP")]
    layers += [m.mlp for m in thrifty.image_tower.modules() if hasattr(m, "ls_1")]
    layers[0].register_forward_pre_hook(lambda *_: passes.append(1))
    for classifier in (plain, thrifty):
        _loss(classifier, inputs).backward()
    assert len(passes) == 2, "forward, and once more in the backward pass"
    wanted = {n: p.grad for n, p in plain.named_parameters() if p.grad is not None}
    found = {n: p.grad for n, p in thrifty.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found, wanted)


def test_each_tower_and_each_layer_has_its_own_learning_rate(build):
    classifier = build()
    phase = WHOLE.model_copy(
        update={"tower_learning_rate": 8e-4, "text_learning_rate": 0.0, "layer_decay": 0.5}
    )
    optimiser = build_optimiser(classifier, phase, 0.05)
    rates = {p: g["peak_lr"] for g in optimiser.param_groups for p in g["params"]}
    found: dict[str, set[float]] = {}
    for name, parameter in classifier.image_tower.named_parameters():
        place = next((f"layer {n}" for n in (0, 1) if f".{n}." in name), "embeddings")
        if any(top in name for top in ("post", "proj", "out_proj")) and place == "embeddings":
            place = "top"
        found.setdefault(place, set()).add(round(rates[parameter], 9))
    wanted = {"top": {8e-4}, "layer 1": {8e-4}, "layer 0": {4e-4}, "embeddings": {2e-4}}
    assert found == wanted
    assert not any(p in rates for p in classifier.text_tower.parameters())
    assert {rates[p] for p in classifier.heads.parameters()} == {1e-3}


def test_a_checkpoint_trained_with_adapters_has_none(catalog, clip_folder, tmp_path):
    config = TrainingConfig(
        name="tiny",
        towers=str(clip_folder),
        text_length=16,
        joint_layers=1,
        joint_heads=2,
        batch_size=8,
        ema=0.9,
        lora=Lora(rank=2),
        recompute_activations=True,
        phases=(WHOLE,),
    )
    train_checkpoint(config, [catalog], tmp_path / "made")
    loaded, _ = load_classifier(read_manifest(tmp_path / "made"), torch.device("cpu"))
    assert not any("lora" in name for name in loaded.state_dict())
