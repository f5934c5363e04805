"""How pre-trained towers are trained: adapters, recomputed activations, a rate for each layer."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from enrich.classifiers.interface import Classifier
from enrich.errors import load_extra
from enrich.terminal import say
from enrich.training.config import Lora, Phase

# A layer's number in its parameters' names, as transformers, open_clip and timm have them.
_LAYER = re.compile(r"(?:^|\.)(?:layers?|resblocks|blocks|stages)\.(\d+)\.")
# Parameters that come before the first layer.
_FIRST = re.compile(r"embed|conv1|stem|cls_token|ln_pre|pre_layrnorm")


def add_adapters(classifier: Classifier, lora: Lora) -> list[Any]:
    """Add low-rank matrices to the linear layers of pre-trained parts, and freeze all else of them.

    LoRA of Hu et al. 2021, arXiv 2106.09685. At first they change nothing.

    Returns:
        What `merge_adapters` takes.

    Raises:
        ConfigError: peft is not installed.
    """
    peft = load_extra("peft", "train")
    added = []
    for part in classifier.pretrained():
        lowest = 0 if lora.layers is None else count_layers(part) - lora.layers
        # Not the output layer inside torch's attention, a subclass: peft adapts it along.
        targets = [
            name
            for name, module in part.named_modules()
            if (type(module) is nn.Linear or isinstance(module, nn.MultiheadAttention))
            and (found := _LAYER.search(f"{name}."))
            and int(found[1]) >= lowest
        ]
        if not targets:
            say(f"lora leaves {type(part).__name__} as it is: found 0 linear layers, expected 1")
            continue
        settings = peft.LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, bias="none"
        )
        added.append(peft.LoraModel(part, settings, "default"))
    return added


def merge_adapters(adapters: list[Any]) -> None:
    """Add the low-rank matrices to the weights that they belong to, and remove them."""
    for one in adapters:
        one.merge_and_unload()


def is_adapter(name: str) -> bool:
    """Tell by its name whether a parameter is of an adapter."""
    return ".lora_" in name


def recompute_activations(classifier: Classifier) -> None:
    """Let pre-trained layers compute their activations again in the backward pass.

    That saves memory, and costs about a third of a step.
    """
    for part in classifier.pretrained():
        modules: list[Any] = list(part.modules())
        for module in modules:
            if hasattr(module, "gradient_checkpointing_enable"):
                module.gradient_checkpointing_enable({"use_reentrant": False})
            elif hasattr(module, "set_grad_checkpointing"):
                module.set_grad_checkpointing(True)


def settle_norms(tower: nn.Module) -> None:
    """Let a pre-trained tower keep the statistics of its norms, and leave nothing out.

    Batches are too small for better statistics. Layers that recompute activations do so only where
    they themselves are in training.
    """
    tower.eval()
    for module in tower.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True


def count_layers(part: nn.Module) -> int:
    """Return the number of numbered layers, 0 if there are none."""
    found = (_LAYER.search(name) for name, _ in part.named_parameters())
    return max((int(match[1]) + 1 for match in found if match), default=0)


def rates(classifier: Classifier, phase: Phase) -> Iterator[tuple[str, nn.Parameter, float]]:
    """Yield the name of the group, each pre-trained parameter and its learning rate; 0 is frozen.

    The rate of a layer is `layer_decay` times that of the layer above it.
    """
    image, text = classifier.image_tower.pretrained(), classifier.text_tower.pretrained()
    upper = set(classifier.image_tower.upper_parameters()) if phase.upper_stages_only else None
    for part in classifier.pretrained():
        group, rate = "pretrained", phase.tower_learning_rate
        if part is image:
            group, rate = "image", phase.image_rate
        elif part is text:
            group, rate = "text", phase.text_rate
        layers = count_layers(part)
        is_adapted = any(is_adapter(name) for name, _ in part.named_parameters())
        for name, parameter in part.named_parameters():
            frozen = (is_adapted and not is_adapter(name)) or (
                part is image and upper is not None and parameter not in upper
            )
            below = layers - _depth(name, layers)
            yield group, parameter, 0.0 if frozen else rate * phase.layer_decay**below


def _depth(name: str, layers: int) -> int:
    """Return how many layers lie below a parameter; what is behind the layers is at their top."""
    if (found := _LAYER.search(name)) is not None:
        return int(found[1]) + 1
    return 0 if _FIRST.search(name) else layers
