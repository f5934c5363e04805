"""The training loop: phases of epochs, best state kept, resumable after every epoch.

Knows nothing of where products come from or where the checkpoint goes.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from enrich.classifiers.interface import Classifier
from enrich.precision import autocast
from enrich.training.batches import Batches, Hiding, shuffled
from enrich.training.cache import cache_features
from enrich.training.config import Phase, TrainingConfig
from enrich.training.evaluation import selection_score
from enrich.training.losses import contrastive_loss, multitask_loss

_STATE = "training_state.pt"
_console = Console(stderr=True)


@dataclass(slots=True)
class Progressed:
    """How far a run has come; what a killed run resumes from."""

    phase: int = 0
    epoch: int = 0
    best_score: float = -1.0


class Trainer:
    """Trains one classifier; after `train` it holds the best state that was seen."""

    def __init__(
        self,
        classifier: Classifier,
        batches: Batches,
        config: TrainingConfig,
        train_rows: np.ndarray,
        validation_rows: np.ndarray,
        folder: Path,
    ) -> None:
        self.classifier = classifier
        self.batches = batches
        self.config = config
        self.train_rows = train_rows
        self.validation_rows = validation_rows
        self.folder = folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.progressed = Progressed()
        self.best = _copy(classifier)
        classifier.to(self.device).to(memory_format=torch.channels_last)

    def train(self) -> None:
        """Runs every phase that is left and leaves the best weights in the classifier."""
        optimiser_state = self._resume()
        for number, phase in list(enumerate(self.config.phases))[self.progressed.phase :]:
            self._train_phase(number, phase, optimiser_state)
            optimiser_state = None
            self.progressed.phase, self.progressed.epoch = number + 1, 0
        self.classifier.load_state_dict(self.best)

    def _train_phase(self, number: int, phase: Phase, optimiser_state: dict | None) -> None:
        frozen = phase.tower_learning_rate == 0
        self.batches.features = (
            cache_features(self.classifier, self.batches.images, self.device) if frozen else None
        )
        optimiser = _build_optimiser(self.classifier, phase, self.config.weight_decay)
        if optimiser_state is not None:
            optimiser.load_state_dict(optimiser_state)
        for epoch in range(self.progressed.epoch, phase.epochs):
            loss = self._train_epoch(number, phase, epoch, optimiser)
            note = self._keep_best() if phase.loss == "multitask" else ""
            _console.print(
                f"phase {number + 1}/{len(self.config.phases)} ({phase.loss}) "
                f"epoch {epoch + 1}/{phase.epochs}: loss {loss:.4f} {note}"
            )
            self.progressed.phase, self.progressed.epoch = number, epoch + 1
            self._save_state(optimiser)

    def _train_epoch(
        self, number: int, phase: Phase, epoch: int, optimiser: torch.optim.Optimizer
    ) -> float:
        # Seeded by epoch, not carried along: a resumed run draws what the unbroken one drew.
        torch.manual_seed(self.config.seed * 1_000_000 + number * 1_000 + epoch)
        rng = np.random.default_rng([self.config.seed, number, epoch])
        self.classifier.train()
        # The pre-trained norms keep their statistics: our batches are too small to better them.
        self.classifier.image_tower.pretrained().eval()
        steps = len(self.train_rows) // self.config.batch_size
        losses = []
        with _progress() as progress:
            for step, rows in enumerate(
                progress.track(
                    shuffled(self.train_rows, self.config.batch_size, rng),
                    steps,
                    description=f"{phase.loss} epoch {epoch + 1}",
                )
            ):
                share = (epoch * steps + step) / (phase.epochs * steps)
                for group in optimiser.param_groups:
                    group["lr"] = group["peak_lr"] * _schedule(share, self.config.warmup_share)
                loss = self._loss(phase, rows, rng)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(self.classifier.parameters(), 1.0)
                optimiser.step()
                losses.append(loss.item())
        return sum(losses) / max(1, len(losses))

    def _loss(self, phase: Phase, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        config, products = self.config, self.batches.products
        contrastive = phase.loss == "contrastive"
        hiding = (
            Hiding(0.0, 0.0, config.mask_label_words)
            if contrastive
            else Hiding(config.drop_text, config.drop_image, config.mask_label_words)
        )
        inputs = self.batches.training(rows, hiding, rng).to(self.device)
        with autocast(self.device):
            output = self.classifier(inputs)
        if contrastive:
            both = inputs.has_image & inputs.has_text
            groups = torch.from_numpy(products.groups[rows]).to(self.device)
            return contrastive_loss(
                output.image_embeds[both], output.text_embeds[both], groups[both]
            )
        targets = torch.from_numpy(products.targets[rows]).to(self.device)
        return multitask_loss(output.logits, targets, config.label_smoothing)

    def _keep_best(self) -> str:
        score = selection_score(self.classifier, self.batches, self.validation_rows, self.device)
        if score > self.progressed.best_score:
            self.progressed.best_score = score
            self.best = _copy(self.classifier)
            return f"validation {score:.4f} (best)"
        return f"validation {score:.4f}"

    def _save_state(self, optimiser: torch.optim.Optimizer) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{_STATE}.partial"
        state = {
            "config": self.config.model_dump_json(),
            "classifier": self.classifier.state_dict(),
            "best": self.best,
            "optimiser": optimiser.state_dict(),
            "phase": self.progressed.phase,
            "epoch": self.progressed.epoch,
            "best_score": self.progressed.best_score,
        }
        torch.save(state, partial)
        partial.replace(self.folder / _STATE)

    def _resume(self) -> dict | None:
        file = self.folder / _STATE
        if not file.exists():
            return None
        state = torch.load(file, weights_only=True, map_location=self.device)
        if state["config"] != self.config.model_dump_json():
            _console.print(f"{file} is of another configuration: starting anew")
            return None
        self.classifier.load_state_dict(state["classifier"])
        self.best = state["best"]
        self.progressed = Progressed(state["phase"], state["epoch"], state["best_score"])
        _console.print(f"resuming after phase {state['phase'] + 1}, epoch {state['epoch']}")
        optimiser: dict = state["optimiser"]
        return optimiser


def _build_optimiser(
    classifier: Classifier, phase: Phase, weight_decay: float
) -> torch.optim.Optimizer:
    """Returns AdamW with one learning rate for new modules and one for pre-trained ones."""
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    for parameter in pretrained:
        parameter.requires_grad_(phase.tower_learning_rate > 0)
    groups = []
    for is_pretrained, peak in ((False, phase.learning_rate), (True, phase.tower_learning_rate)):
        chosen = [p for p in classifier.parameters() if (p in pretrained) == is_pretrained]
        if chosen and peak > 0:
            # Norms, biases and scoring vectors are not decayed.
            for decay, members in (
                (weight_decay, [p for p in chosen if p.ndim > 1]),
                (0.0, [p for p in chosen if p.ndim <= 1]),
            ):
                groups.append({"params": members, "weight_decay": decay, "peak_lr": peak})
    return torch.optim.AdamW(groups, lr=phase.learning_rate)


def _schedule(share: float, warmup_share: float) -> float:
    """Returns the factor on the learning rate: linear warm-up, then a cosine to zero."""
    if share < warmup_share:
        return share / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (share - warmup_share) / (1 - warmup_share)))


def _copy(classifier: Classifier) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in classifier.state_dict().items()}


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=_console
    )
