"""The optimiser of a phase: learning rates, number formats, steps of the weights."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from enrich.classifiers.interface import Classifier
from enrich.engine.device import choose_dtype
from enrich.errors import ConfigError
from enrich.training.batches import Part
from enrich.training.config import Phase, TrainingConfig
from enrich.training.distributed import processes
from enrich.training.losses import Objective


class Stepper:
    """Steps of the weights over a phase of training."""

    def __init__(self, classifier: Classifier, phase: Phase, config: TrainingConfig) -> None:
        self._config = config
        self._device = classifier.device
        # Before the objective is wrapped: the optimiser freezes parameters, and processes share the
        # gradients of all others.
        self._optimiser = build_optimiser(classifier, phase, config.weight_decay)
        self._objective = with_shared_gradients(Objective(classifier, phase, config))
        # The gradients of float16 would vanish; bfloat16 has the range of float32.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=choose_dtype(self._device) is torch.float16
        )

    def step(self, parts: Sequence[Part], done_share: float) -> float:
        """Make one step, and return the loss of the whole batch.

        Args:
            parts: this process's parts of the batch.
            done_share: finished share of the phase, in [0, 1].

        Raises:
            ConfigError: the loss is not finite.
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
                # Times the processes: losses of parts add up, and processes share mean gradients.
                self._scaler.scale(loss * processes()).backward()
            total += loss.detach()
        self._scaler.unscale_(self._optimiser)
        # Not all parameters: frozen ones may have gradients of an earlier phase.
        held = [p for group in self._optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(held, self._config.gradient_clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return _checked(summed(total))

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rates of new and of pre-trained modules."""
        groups = self._optimiser.param_groups
        return {f"learning_rate/{group['name']}": group["lr"] for group in groups}

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
    """Build AdamW with one learning rate for new modules and one for pre-trained ones.

    Raises:
        ConfigError: the phase trains 0 parameters of the classifier.
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
            # Norms and biases, of one dimension, are not decayed.
            for decay, members in (
                (weight_decay, [p for p in chosen if p.ndim > 1]),
                (0.0, [p for p in chosen if p.ndim <= 1]),
            ):
                settings = {"weight_decay": decay, "peak_lr": peak, "name": name}
                groups.append({"params": members, **settings})
    if not groups:
        raise ConfigError(
            f"a {phase.loss} phase cannot train {classifier.config.classifier}: found a "
            "tower_learning_rate of 0, expected one above 0, because all of it is pre-trained"
        )
    return torch.optim.AdamW(groups, lr=phase.learning_rate)


def schedule(done_share: float, warmup_share: float) -> float:
    """Return the factor on the learning rate: linear warm-up, then a cosine to zero.

    The cosine is that of Loshchilov and Hutter (arXiv 1608.03983), without restarts.
    """
    if done_share < warmup_share:
        return done_share / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (done_share - warmup_share) / (1 - warmup_share)))


def _checked(loss: float) -> float:
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss is not finite: found {loss}. Lower the learning rates and start anew."
        )
    return loss


def summed(number: Tensor) -> float:
    """Return the sum of a number over all processes."""
    number = number.detach().clone()
    if processes() > 1:
        dist.all_reduce(number)
    return number.item()


def with_shared_gradients(module: nn.Module) -> nn.Module:
    """Wrap a module so that its gradients are means over all processes.

    A norm over the batch still sees the rows of this process only.
    """
    if processes() == 1:
        return module
    # Else DistributedDataParallel waits for gradients of unused parameters: the heads in a
    # contrastive phase, the text tower of an image-only classifier.
    return DistributedDataParallel(module, find_unused_parameters=True)


def sharing(module: nn.Module, *, now: bool) -> contextlib.AbstractContextManager[None]:
    """Return the context of a backward pass that shares gradients `now` or later.

    Gradients that are not shared yet add up in each process.
    """
    if isinstance(module, DistributedDataParallel) and not now:
        return module.no_sync()
    return contextlib.nullcontext()
