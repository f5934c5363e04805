"""The steps of a phase, with losses, learning rates and adapters.

A new loss is a term of `Objective`, with its weight, and what it is computed from in `Part`.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from enrich.classifiers.config import HuggingFaceTowers, OpenClipTowers
from enrich.classifiers.interface import Classifier, ModelOutput, Tokens
from enrich.engine.device import autocast, choose_dtype
from enrich.errors import ConfigError, load_extra
from enrich.terminal import say
from enrich.training.augmentation import build_transform
from enrich.training.batches import Part
from enrich.training.config import Lora, Phase, TrainingConfig
from enrich.training.distributed import processes
from enrich.training.labelled import UNLABELLED

# A layer's number in its parameters' names, as transformers, open_clip and timm have them.
_LAYER = re.compile(r"(?:^|\.)(?:layers?|resblocks|blocks|stages)\.(\d+)\.")
# Parameters that come before the first layer.
_FIRST = re.compile(r"embed|conv1|stem|cls_token|ln_pre|pre_layrnorm")


def add_adapters(classifier: Classifier, lora: Lora) -> list[Any]:
    """Add low-rank matrices to linear layers of pre-trained parts; freeze the rest.

    LoRA of Hu et al. 2021, arXiv 2106.09685. At first they change nothing.
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


def freeze_norms(tower: nn.Module) -> None:
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


def rates(classifier: Classifier, phase: Phase) -> Iterator[tuple[nn.Parameter, float]]:
    """Yield each pre-trained parameter and its learning rate, 0 if frozen.

    The rate of a layer is `layer_decay` times that of the layer above it.
    """
    image, text = classifier.image_tower.pretrained(), classifier.text_tower.pretrained()
    upper = set(classifier.image_tower.upper_parameters()) if phase.upper_stages_only else None
    for part in classifier.pretrained():
        rate = phase.text_rate if part is text else phase.tower_learning_rate
        layers = count_layers(part)
        is_adapted = any(".lora_" in name for name, _ in part.named_parameters())
        for name, parameter in part.named_parameters():
            frozen = (is_adapted and ".lora_" not in name) or (
                part is image and upper is not None and parameter not in upper
            )
            below = layers - _depth(name, layers)
            yield parameter, 0.0 if frozen else rate * phase.layer_decay**below


def _depth(name: str, layers: int) -> int:
    """Return the number of layers below a parameter; behind them it is all."""
    if (found := _LAYER.search(name)) is not None:
        return int(found[1]) + 1
    return 0 if _FIRST.search(name) else layers


TEMPERATURE = 0.07  # of the contrast, where CLIP begins

_MATCHING_WEIGHT = 0.5
_LOWEST_TEMPERATURE = 0.01  # CLIP's own bound, at which most published ones have ended


def label_loss(
    logits: dict[str, Float[Tensor, "B _"]],
    targets: Int[Tensor, "B K"],
    label_smoothing: float,
    labelled: Int[Tensor, " K"],
) -> Float[Tensor, ""]:
    """Return the mean over attributes of the mean cross-entropy of labelled rows.

    `targets` has the attributes in the order of `logits`, and `labelled` counts the labelled rows
    of the whole batch, so that the losses of parts add up to the loss of the batch.
    """
    totals = [
        F.cross_entropy(
            scores,
            targets[:, column],
            ignore_index=UNLABELLED,
            label_smoothing=label_smoothing,
            reduction="sum",
        )
        / labelled[column].clamp(min=1)
        for column, scores in enumerate(logits.values())
    ]
    return torch.stack(totals).mean()


def soft_loss(
    logits: dict[str, Float[Tensor, "B _"]], soft: Float[Tensor, "B S"]
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy against probabilities, over rows and attributes.

    `soft` has the attributes side by side, in the order of `logits`; a row of zeros counts as 0.
    """
    parts = soft.split([scores.shape[1] for scores in logits.values()], dim=1)
    totals = [
        -(wanted * scores.log_softmax(1)).sum(1).mean()
        for scores, wanted in zip(logits.values(), parts, strict=True)
    ]
    return torch.stack(totals).mean()


def matching_loss(scores: Float[Tensor, " B"], own_text: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return the binary cross-entropy of telling an image's own text from another's.

    Image-text matching of ALBEF (Li et al. 2021, arXiv 2107.07651). Without a row it is 0.
    """
    if len(scores) == 0:
        return scores.sum()
    return F.binary_cross_entropy_with_logits(scores.float(), own_text.float())


def contrastive_loss(
    image_embeds: Float[Tensor, "B D"],
    text_embeds: Float[Tensor, "B D"],
    group_ids: Int[Tensor, " B"],
    temperature: float = TEMPERATURE,
) -> Float[Tensor, ""]:
    """Return CLIP's symmetric loss (Radford et al. 2021, arXiv 2103.00020).

    Near-identical products, of one group, are not negatives of each other. Without a row it is 0.
    """
    if len(image_embeds) == 0:
        return (image_embeds.sum() + text_embeds.sum()).float()
    image = F.normalize(image_embeds.float(), dim=1)
    text = F.normalize(text_embeds.float(), dim=1)
    scores = image @ text.T / temperature
    same_group = group_ids.unsqueeze(0) == group_ids.unsqueeze(1)
    same_group.fill_diagonal_(False)
    scores = scores.masked_fill(same_group, float("-inf"))
    here = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, here) + F.cross_entropy(scores.T, here)) / 2


class Objective(nn.Module):
    """The loss of a part of a batch.

    The losses against labels of all parts add up to the loss of the batch. Contrast and matching
    are means over the rows of a part with both modalities, weighted by the part's size. Classifier
    and losses are one module, because DistributedDataParallel shares gradients of the outputs of a
    module's forward only.
    """

    def __init__(self, classifier: Classifier, phase: Phase, config: TrainingConfig) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = phase.loss
        self.label_smoothing = config.label_smoothing
        self.soft_labels = config.soft_labels
        self.sees_pictures_alone = config.drop_text == 1
        self.captioning = config.captioning
        listed = config.augmentation
        self.augment = None if isinstance(listed, str) else build_transform(listed)
        # For a classifier of one modality, the picture alone is the same task once more.
        reads_both = not (classifier.image_tower.absent or classifier.text_tower.absent)
        self.image_alone = config.image_alone if reads_both else 0.0

    def forward(self, part: Part) -> Float[Tensor, ""]:
        """Return the part's share of the loss of its batch."""
        inputs = part.inputs
        if self.augment is not None and inputs.pixel_values is not None:
            inputs = replace(inputs, pixel_values=self.augment(inputs.pixel_values))
        with autocast(inputs.has_text.device):
            tokens = self.classifier.towers(inputs)
            captions = None
            if self.loss == "contrastive":
                vectors = self.classifier.contrasted(tokens, inputs.has_image, inputs.has_text)
                if self.captioning:
                    captions = self.classifier.caption_loss(tokens, inputs)
            else:
                vectors = self.classifier.join(tokens, inputs.has_image, inputs.has_text)
        both = inputs.has_image & inputs.has_text
        if self.loss == "contrastive":
            loss = contrastive_loss(
                vectors.image[both],
                vectors.text[both],
                part.groups[both],
                contrast_temperature(self.classifier),
            )
            return part.share * (loss if captions is None else loss + self.captioning * captions)
        output = self.classifier.answer(vectors)
        loss = label_loss(output.logits, part.targets, self.label_smoothing, part.labelled)
        if self.sees_pictures_alone:
            loss = self._with_soft_labels(loss, output, part)
        if self.image_alone and inputs.has_image.any():
            loss = loss + self.image_alone * self._of_images_alone(part, tokens)
        if output.matching is not None:
            matching = matching_loss(output.matching[both], part.own_text[both])
            loss = loss + _MATCHING_WEIGHT * part.share * matching
        return loss

    def _of_images_alone(self, part: Part, tokens: Tokens) -> Float[Tensor, ""]:
        """Return the loss of answers to the same pictures without a text."""
        seen = part.inputs.has_image
        shown = seen[seen]
        with autocast(seen.device):
            vectors = self.classifier.join(tokens.images_alone(seen), shown, ~shown)
        alone = self.classifier.answer(vectors)
        targets = part.image_targets[seen]
        loss = label_loss(alone.logits, targets, self.label_smoothing, part.labelled)
        return self._with_soft_labels(loss, alone, part, seen)

    def _with_soft_labels(
        self,
        loss: Tensor,
        answers: ModelOutput,
        part: Part,
        rows: Bool[Tensor, " B"] | slice = slice(None),
    ) -> Float[Tensor, ""]:
        """Return the loss of pictures alone, a share of it against soft labels."""
        if part.soft is None:
            return loss
        soft = part.soft[rows]
        share = part.share * len(soft) / len(part.soft)
        return torch.lerp(loss, share * soft_loss(answers.logits, soft), self.soft_labels)


def contrast_temperature(classifier: Classifier) -> float:
    """Return the last temperature of published towers, or CLIP's first one.

    At another temperature the embeddings of published towers would have to adapt first.
    """
    towers, logit_scale = classifier.config.towers, None
    if classifier.contrasts_towers and isinstance(towers, HuggingFaceTowers | OpenClipTowers):
        logit_scale = towers.logit_scale
    if logit_scale is None:
        return TEMPERATURE
    return max(math.exp(-logit_scale), _LOWEST_TEMPERATURE)


class Stepper:
    """Steps of the weights over a phase of training."""

    def __init__(self, classifier: Classifier, phase: Phase, config: TrainingConfig) -> None:
        self._config = config
        self._device = classifier.device
        # Before the objective is wrapped: the optimiser freezes parameters, and processes share the
        # gradients of all others.
        self._optimiser = build_optimiser(classifier, phase, config.weight_decay)
        self._objective: Any = Objective(classifier, phase, config)
        if processes() > 1:
            # Else it waits for gradients of unused parameters: the heads in a contrastive phase,
            # the text tower of an image-only classifier.
            self._objective = DistributedDataParallel(self._objective, find_unused_parameters=True)
        # The gradients of float16 would vanish; bfloat16 has the range of float32.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=choose_dtype(self._device) is torch.float16
        )

    def step(self, parts: Sequence[Part], done_share: float) -> float:
        """Make one step with this process's parts, and return the loss of the whole batch.

        `done_share` is the finished share of the phase, in [0, 1].
        """
        factor = schedule(done_share, self._config.warmup_share)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak_lr"] * factor
        self._optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        for number, part in enumerate(parts, start=1):
            torch.manual_seed(part.seed)
            # Gradients are shared with the last part; until then they add up in each process.
            waits = processes() > 1 and number < len(parts)
            with self._objective.no_sync() if waits else contextlib.nullcontext():
                loss = self._objective(part.to(self._device))
                # Times the processes: losses of parts add up, and processes share mean gradients.
                self._scaler.scale(loss * processes()).backward()
            total += loss.detach()
        self._scaler.unscale_(self._optimiser)
        # Not all parameters: frozen ones may have gradients of an earlier phase.
        held = [p for group in self._optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(held, self._config.gradient_clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if processes() > 1:
            dist.all_reduce(total)
        if not math.isfinite(total.item()):
            raise ConfigError(
                f"the loss is not finite: found {total.item()}. Lower the learning rates and start "
                "anew."
            )
        return total.item()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed phase needs."""
        return {"optimiser": self._optimiser.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of another stepper of the same phase."""
        self._optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])


def build_optimiser(
    classifier: Classifier, phase: Phase, weight_decay: float
) -> torch.optim.Optimizer:
    """Build AdamW with rates for new modules and for each pre-trained layer.

    Raises ConfigError if the phase trains 0 parameters of the classifier.
    """
    chosen = dict.fromkeys(classifier.parameters(), phase.learning_rate)
    for parameter, rate in rates(classifier, phase):
        chosen[parameter] = rate
        parameter.requires_grad_(rate > 0)
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, rate in chosen.items():
        if parameter.requires_grad:
            # Norms and biases, of one dimension, are not decayed.
            decay = weight_decay if parameter.ndim > 1 else 0.0
            members.setdefault((rate, decay), []).append(parameter)
    if not members:
        raise ConfigError(
            f"a {phase.loss} phase cannot train {classifier.config.classifier}: found a "
            "tower_learning_rate of 0, expected one above 0, because all of it is pre-trained"
        )
    groups = [
        {"params": parameters, "weight_decay": decay, "peak_lr": rate}
        for (rate, decay), parameters in members.items()
    ]
    return torch.optim.AdamW(groups, lr=phase.learning_rate, fused=True)


def schedule(done_share: float, warmup_share: float) -> float:
    """Return the factor on the learning rate: linear warm-up, then a cosine to zero.

    The cosine is that of Loshchilov and Hutter (arXiv 1608.03983), without restarts.
    """
    if done_share < warmup_share:
        return done_share / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (done_share - warmup_share) / (1 - warmup_share)))
