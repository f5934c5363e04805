"""The training loop: phases of epochs, best state kept, resumable at every step.

Knows nothing of where products come from or where the checkpoint goes.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enrich.ahead import make_ahead
from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError
from enrich.extras import load_extra
from enrich.precision import local_device
from enrich.progress import say
from enrich.ranks import rank
from enrich.training.batches import Batches, Hiding
from enrich.training.conditions import SELECTED_UNDER, shown_in_training
from enrich.training.config import Phase, TrainingConfig
from enrich.training.curves import Curves
from enrich.training.distributed import first_then_others, from_first
from enrich.training.evaluation import selection_score
from enrich.training.optimiser import Stepper
from enrich.training.parts import Part, deal
from enrich.training.progress import EpochProgress
from enrich.training.state import Progressed, load_state, name_inputs, save_state
from enrich.training.unseen_views import cache_unseen_views
from enrich.training.view_cache import CachedViews, cache_views

_STATE = "training_state.pt"
_STEPS_A_POINT = 20


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
        shown = shown_in_training(config)
        self.selected_under = [one for one in SELECTED_UNDER if one in shown]
        self.inputs_digest = name_inputs(config, classifier, batches, train_rows)
        self.progressed = Progressed()
        self.best = _copy(classifier)
        self.curves: Curves | None = None
        classifier.to(local_device()).to(memory_format=torch.channels_last)
        self.average = _average(classifier, config.ema) if config.ema > 0 else None

    def train(self) -> None:
        """Runs every phase that is left and leaves the best weights in the classifier.

        Raises:
            ConfigError: a phase has nothing to train, the loss is no number any more, or what is
                in the folder is of another training.
        """
        stepper_state = self._resume()
        self.curves = Curves(self.folder, self.progressed.total_steps) if rank() == 0 else None
        try:
            for number, phase in list(enumerate(self.config.phases))[self.progressed.phase :]:
                self._train_phase(number, phase, stepper_state)
                stepper_state = None
        finally:
            if self.curves is not None:
                self.curves.close()
        self.classifier.load_state_dict(self.best)

    def _train_phase(self, number: int, phase: Phase, stepper_state: dict[str, Any] | None) -> None:
        self.batches.cached = first_then_others(lambda: self._cache_views(phase))
        stepper = Stepper(self.classifier, phase, self.config)
        if self.average is not None and phase.cached is not None:
            _copy_frozen(self.classifier, self.average.module)
        if stepper_state is not None:
            stepper.load_state_dict(stepper_state)
        while self.progressed.epoch < phase.epochs and not self._is_stale():
            epoch = self.progressed.epoch
            loss = self._train_epoch(number, phase, epoch, stepper)
            note = self._keep_best() if self._is_scored(phase) else ""
            say(
                f"phase {number + 1}/{len(self.config.phases)} ({phase.loss}) "
                f"epoch {epoch + 1}/{phase.epochs}: loss {loss:.4f} {note}"
            )
            self.progressed.end_epoch()
            self._save_state(stepper)
        if self.progressed.epoch < phase.epochs:
            say(f"{self.progressed.stale} epochs without a better one end the phase")
        self.progressed.end_phase()

    def _cache_views(self, phase: Phase) -> CachedViews | None:
        if phase.cached is None:
            return None
        images = self.batches.images
        looks = not self.classifier.image_tower.absent
        if looks and self.config.half_towers and phase.cached == "image_features":
            return cache_unseen_views(
                self.classifier,
                images,
                self.batches.products.groups,
                self.train_rows,
                self.validation_rows,
                self.config.half_towers,
                phase.views,
            )
        return cache_views(self.classifier, images, phase.cached, phase.views)

    def _train_epoch(self, number: int, phase: Phase, epoch: int, stepper: Stepper) -> float:
        self.classifier.train()
        # The pre-trained norms keep their statistics: these batches are too small for better ones.
        self.classifier.image_tower.pretrained().eval()
        done, saved = self.progressed, time.monotonic()
        steps = len(self.train_rows) // self.config.batch_size
        with EpochProgress(f"{phase.loss} epoch {epoch + 1}", steps, done.step) as progress:
            for parts in self._parts(number, phase, epoch):
                # Taken at the middle of the step: at both ends of the phase the learning rate is 0.
                done_share = (epoch * steps + done.step + 0.5) / (phase.epochs * steps)
                loss = stepper.step(parts, done_share)
                done.end_step(loss)
                if self.average is not None:
                    self.average.update(self.classifier, step=done.total_steps)
                if done.total_steps % _STEPS_A_POINT == 0:
                    self._plot({f"loss/{phase.loss}": loss} | stepper.learning_rates())
                progress.count_step(done.loss / done.step, self.config.batch_size)
                if time.monotonic() - saved >= self.config.save_every_s:
                    self._save_state(stepper)
                    saved = time.monotonic()
        return done.loss / max(1, done.step)

    def _parts(self, number: int, phase: Phase, epoch: int) -> Iterator[list[Part]]:
        """Yields this process's parts of every batch that is left of the epoch."""
        hiding = Hiding.of(self.config, phase.loss)
        seed = (self.config.seed, number, epoch)
        first_step = self.progressed.step
        return make_ahead(
            deal(self.batches, self.train_rows, self.config, hiding, seed, first_step)
        )

    def _is_scored(self, phase: Phase) -> bool:
        # After a contrastive phase that others follow, the heads are still random and the answers
        # say nothing. A classifier that has no other phases has no heads: its answers do count.
        contrast_only = all(each.loss == "contrastive" for each in self.config.phases)
        return phase.loss == "multitask" or contrast_only

    def _is_stale(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.progressed.stale >= patience

    def _keep_best(self) -> str:
        """Scores the epoch, keeps its weights if they are the best yet, and returns what to say."""
        evaluated = self.classifier if self.average is None else self.average.module
        score = 0.0
        if rank() == 0:
            evaluated.settle()
            score, accuracies = selection_score(
                evaluated,
                self.batches,
                self.validation_rows,
                self.selected_under,
            )
            self._plot({"validation/score": score} | accuracies)
        score = from_first(score)
        if score > self.progressed.best_score:
            self.progressed.best_score, self.progressed.stale = score, 0
            self.best = _copy(evaluated)
            return f"validation {score:.4f} (best)"
        self.progressed.stale += 1
        return f"validation {score:.4f}"

    def _plot(self, figures: dict[str, float]) -> None:
        if self.curves is not None:
            self.curves.add(self.progressed.total_steps, figures)

    def _save_state(self, stepper: Stepper) -> None:
        if rank() > 0:
            return
        average = None if self.average is None else self.average.module.state_dict()
        save_state(
            self.folder / _STATE,
            {
                "inputs": self.inputs_digest,
                "progressed": asdict(self.progressed),
                "classifier": self.classifier.state_dict(),
                "average": average,
                "best": self.best,
                "stepper": stepper.state_dict(),
            },
        )

    def _resume(self) -> dict[str, Any] | None:
        state = load_state(self.folder / _STATE)
        if state is None:
            return None
        if state.get("inputs") != self.inputs_digest:
            raise ConfigError(
                f"{self.folder} is of a training with another configuration, other products or "
                "other pictures (one that could not be read then and can be now is another): "
                "remove it to train anew, or give another --output"
            )
        self.classifier.load_state_dict(state["classifier"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.best = state["best"]
        self.progressed = done = Progressed(**state["progressed"])
        say(f"resuming in phase {done.phase + 1} after {done.epoch} epochs and {done.step} steps")
        stepper_state: dict[str, Any] = state["stepper"]
        return stepper_state


def _copy(classifier: Classifier) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in classifier.state_dict().items()}


def _copy_frozen(classifier: Classifier, average: Classifier) -> None:
    """Gives the average the image tower's frozen part, which an earlier phase may have trained.

    The average lags behind, and the cache holds what the classifier's own makes of the pictures:
    epochs would be chosen on another tower than is kept.
    """
    towers = [each.image_tower.pretrained().parameters() for each in (classifier, average)]
    with torch.no_grad():
        for own, averaged in zip(*towers, strict=True):
            if not own.requires_grad:
                averaged.copy_(own)


def _average(classifier: Classifier, decay: float) -> Any:
    # Its decay grows with the steps, so that the random start is soon forgotten.
    return load_extra("timm.utils", "train").ModelEmaV3(classifier, decay, use_warmup=True)
