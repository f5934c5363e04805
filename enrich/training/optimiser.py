"""One phase's optimisation: learning rates, number formats, and the step of the weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError
from enrich.precision import choose_dtype
from enrich.training.config import Phase, TrainingConfig
from enrich.training.distributed import processes, sharing, summed, with_shared_gradients
from enrich.training.objective import Objective
from enrich.training.parts import Part


class Stepper:
    """Turns the parts of a batch into one step of the weights, over a phase of training."""

    def __init__(self, classifier: Classifier, phase: Phase, config: TrainingConfig) -> None:
        self._config = config
        self._device = classifier.device
        # Before the objective is wrapped: building it sets which parameters are trained, and it is
        # the gradients of those that processes share.
        self._optimiser = build_optimiser(classifier, phase, config.weight_decay)
        self._objective = with_shared_gradients(Objective(classifier, phase, config))
        # The gradients of float16 would vanish; bfloat16 has the range of float32.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=choose_dtype(self._device) is torch.float16
        )

    def step(self, parts: Sequence[Part], done_share: float) -> float:
        """Makes one step and returns the loss of the whole batch.

        Args:
            parts: This process's parts of the batch.
            done_share: How much of the phase lies behind, in [0, 1].

        Raises:
            ConfigError: the loss is no number any more.
        """
        factor = schedule(done_share, self._config.warmup_share)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak_lr"] * factor
        self._optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        for number, part in enumerate(parts, start=1):
            torch.manual_seed(part.seed)
            with sharing(self._objective, now=number == len(parts)):
                loss = self._objective(part.to(self._device))
                # Times the processes: the losses of their parts add up, and they share a mean.
                self._scaler.scale(loss * processes()).backward()
            total += loss.detach()
        self._scaler.unscale_(self._optimiser)
        # Not all parameters: those that this phase freezes may hold gradients of an earlier one.
        held = [p for group in self._optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(held, self._config.gradient_clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return _checked(summed(total))

    def learning_rates(self) -> dict[str, float]:
        """Returns the last step's learning rates of new and of pre-trained modules."""
        groups = self._optimiser.param_groups
        return {f"learning_rate/{group['name']}": group["lr"] for group in groups}

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed phase needs."""
        return {"optimiser": self._optimiser.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from another stepper of the same phase."""
        self._optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])


def build_optimiser(
    classifier: Classifier, phase: Phase, weight_decay: float
) -> torch.optim.Optimizer:
    """Returns AdamW with one learning rate for new modules and one for pre-trained ones.

    Raises:
        ConfigError: the classifier has nothing that the phase trains.
    """
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    trained = pretrained
    if phase.upper_stages_only:
        trained = set(classifier.image_tower.upper_parameters())
    for parameter in pretrained:
        parameter.requires_grad_(phase.tower_learning_rate > 0 and parameter in trained)
    groups = []
    for name, peak in (("new", phase.learning_rate), ("pretrained", phase.tower_learning_rate)):
        chosen = [
            p
            for p in classifier.parameters()
            if p.requires_grad and (p in pretrained) == (name == "pretrained")
        ]
        if chosen:
            # Norms and biases, which have one dimension, are not decayed.
            for decay, members in (
                (weight_decay, [p for p in chosen if p.ndim > 1]),
                (0.0, [p for p in chosen if p.ndim <= 1]),
            ):
                settings = {"weight_decay": decay, "peak_lr": peak, "name": name}
                groups.append({"params": members, **settings})
    if not groups:
        raise ConfigError(
            f"a {phase.loss} phase without tower_learning_rate has nothing to train in "
            f"{classifier.config.classifier}: all of it is pre-trained; give it one above 0"
        )
    return torch.optim.AdamW(groups, lr=phase.learning_rate)


def schedule(done_share: float, warmup_share: float) -> float:
    """Returns the factor on the learning rate: linear warm-up, then a cosine to zero.

    The cosine is that of Loshchilov and Hutter (arXiv 1608.03983), without restarts.
    """
    if done_share < warmup_share:
        return done_share / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (done_share - warmup_share) / (1 - warmup_share)))


def _checked(loss: float) -> float:
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss became {loss}, and with it the weights are lost: lower the learning rates "
            "and start anew"
        )
    return loss
