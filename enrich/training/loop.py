"""The training loop: phases of epochs, best weights kept, resumable at every step.

The state that a killed run continues from is one file beside the checkpoint, written atomically.
An average of the weights, if asked for, is evaluated and kept in their place.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enrich.classifiers.interface import Classifier
from enrich.engine.device import local_device
from enrich.engine.prefetch import prefetch_iterator
from enrich.errors import ConfigError, load_extra
from enrich.places import atomic_write
from enrich.terminal import Steps, rank, say
from enrich.training.batches import Batches, Condition, Part, deal, in_phase, shown_in_training
from enrich.training.caches import CachedViews, cache_views, cross_fit_views
from enrich.training.config import Phase, TrainingConfig
from enrich.training.distributed import first_then_others, from_first
from enrich.training.evaluation import selection_score
from enrich.training.optimiser import Stepper, add_adapters, freeze_norms, recompute_activations
from enrich.training.soft_labels import cross_fit_labels

# The best epoch has the highest mean accuracy under these conditions.
SELECTED_UNDER = (Condition.AS_IS, Condition.NO_TEXT, Condition.WORDS_MASKED, Condition.OTHER_TEXT)
# Settings without effect on the weights of training: where pictures are cached, the pace of saving,
# and fits after training.
_WITHOUT_EFFECT = {"cache", "save_every_s", "conventions"}
_STATE = "training_state.pt"


@dataclass(slots=True)
class Progressed:
    """Progress of a run: finished phases, epochs of the phase, and steps of the epoch.

    `loss` is the sum over the steps of the epoch, `total_steps` counts those of the run.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    total_steps: int = 0
    best_score: float = -1.0

    def end_step(self, loss: float) -> None:
        """Count a step of the current epoch."""
        self.step += 1
        self.total_steps += 1
        self.loss += loss

    def end_epoch(self) -> None:
        """Count an epoch of the current phase."""
        self.epoch, self.step, self.loss = self.epoch + 1, 0, 0.0

    def end_phase(self) -> None:
        """Count a phase."""
        self.phase, self.epoch = self.phase + 1, 0


def digest_products(batches: Batches, rows: np.ndarray) -> str:
    """Return a digest of the products and pictures of a run."""
    # The folder's name changes with any of the files.
    digest = hashlib.sha256(batches.products.digest() + batches.images.folder.name.encode())
    for numbers in (batches.images.has_image, rows):
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()


class Trainer:
    """The training of one classifier, which has its best weights after `train`."""

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
        self.settings = config.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
        self.products_digest = digest_products(batches, train_rows)
        trains_towers = any(
            max(one.tower_learning_rate, one.text_rate) > 0 for one in config.phases
        )
        lora = config.lora if trains_towers else None
        self.adapters: list[Any] = []
        if lora is not None:
            # The same in every process: files of cached features are named for the weights.
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                self.adapters = add_adapters(classifier, lora)
        if config.recompute_activations:
            recompute_activations(classifier)
        self.progressed = Progressed()
        self.best = _copy(classifier)
        classifier.to(local_device()).to(memory_format=torch.channels_last)
        self.average = _average(classifier, config.ema) if config.ema > 0 else None

    def train(self) -> None:
        """Run every phase that is left, and load the best weights.

        Raises ConfigError if a phase has 0 parameters to train, the loss is not finite, or the
        folder has the state of another training.
        """
        stepper_state = self.resume()
        for number, phase in list(enumerate(self.config.phases))[self.progressed.phase :]:
            self.train_phase(number, phase, stepper_state)
            stepper_state = None
        self.classifier.load_state_dict(self.best)
        for one in self.adapters:
            one.merge_and_unload()

    def train_phase(self, number: int, phase: Phase, stepper_state: dict[str, Any] | None) -> None:
        """Train the epochs that are left of a phase."""
        self.batches.cached = first_then_others(lambda: self._cache_views(phase))
        if self.config.soft_labels and phase.loss == "multitask":
            self.batches.soft = first_then_others(lambda: self._soften(phase))
        stepper = Stepper(self.classifier, phase, self.config)
        if self._has_frozen_texts():
            first_then_others(lambda: self.batches.cache_texts(self.classifier))
        else:
            self.batches.texts = None
        if self.average is not None and phase.cached is not None:
            _copy_frozen(self.classifier, self.average.module)
        if stepper_state is not None:
            stepper.load_state_dict(stepper_state)
        while self.progressed.epoch < phase.epochs:
            epoch = self.progressed.epoch
            loss = self.train_epoch(number, phase, epoch, stepper)
            note = self._keep_best() if self._is_scored(phase) else ""
            say(
                f"phase {number + 1}/{len(self.config.phases)} ({phase.loss}) "
                f"epoch {epoch + 1}/{phase.epochs}: loss {loss:.4f} {note}"
            )
            self.progressed.end_epoch()
            self._save_state(stepper)
        self.progressed.end_phase()

    def _has_frozen_texts(self) -> bool:
        """Check that all texts of a phase, and all that is read of them, can be cached."""
        tower = self.classifier.text_tower
        is_varied = self.config.reword_text + self.config.relabel_text > 0
        is_frozen = not any(one.requires_grad for one in tower.parameters())
        reads = self.classifier.reads_text_features and not tower.absent
        return reads and is_frozen and not is_varied and not self.adapters

    def _cache_views(self, phase: Phase) -> CachedViews | None:
        if phase.cached is None:
            return None
        images = self.batches.images
        looks = not self.classifier.image_tower.absent
        if looks and self.config.half_towers and phase.cached == "image_features":
            return cross_fit_views(
                self.classifier,
                images,
                self.batches.products.half,
                self.train_rows,
                self.validation_rows,
                self.config.half_towers,
                phase.views,
            )
        return cache_views(self.classifier, images, phase.cached, phase.views)

    def _soften(self, phase: Phase) -> np.ndarray:
        attributes, halves = self.classifier.config.attributes, self.config.half_towers
        return cross_fit_labels(self.batches, attributes, halves, self.train_rows, phase.views)

    def train_epoch(self, number: int, phase: Phase, epoch: int, stepper: Stepper) -> float:
        """Train the steps that are left of an epoch, and return the mean loss."""
        self.classifier.train()
        freeze_norms(self.classifier.image_tower.pretrained())
        done, first_step = self.progressed, self.progressed.step
        started = saved = time.monotonic()
        steps = len(self.train_rows) // self.config.batch_size
        with Steps(f"{phase.loss} epoch {epoch + 1}", steps, done.step) as progress:
            for parts in self._parts(number, phase, epoch):
                # The middle of the step, because the learning rate is 0 at both ends of the phase.
                done_share = (epoch * steps + done.step + 0.5) / (phase.epochs * steps)
                loss = stepper.step(parts, done_share)
                done.end_step(loss)
                if self.average is not None:
                    self.average.update(self.classifier, step=done.total_steps)
                seen = (done.step - first_step) * self.config.batch_size
                speed = seen / max(time.monotonic() - started, 1e-9)
                progress.count(f": loss {done.loss / done.step:.4f}, {speed:,.0f} products/s")
                if time.monotonic() - saved >= self.config.save_every_s:
                    self._save_state(stepper)
                    saved = time.monotonic()
        return done.loss / max(1, done.step)

    def _parts(self, number: int, phase: Phase, epoch: int) -> Iterator[list[Part]]:
        """Yield this process's parts of the batches that are left of the epoch."""
        config = in_phase(self.config, phase.loss)
        seed = (self.config.seed, number, epoch)
        first_step = self.progressed.step
        return prefetch_iterator(deal(self.batches, self.train_rows, config, seed, first_step))

    def _is_scored(self, phase: Phase) -> bool:
        # After a contrastive phase that others follow, the heads are still random, and a score of
        # their answers is worthless. A classifier with contrastive phases only has no heads.
        contrast_only = all(each.loss == "contrastive" for each in self.config.phases)
        return phase.loss == "multitask" or contrast_only

    def _keep_best(self) -> str:
        """Score the epoch, keep its weights if they are the best, and return a note."""
        evaluated = self.classifier if self.average is None else self.average.module
        score = 0.0
        if rank() == 0:
            evaluated.refresh()
            score = selection_score(
                evaluated, self.batches, self.validation_rows, self.selected_under
            )
        score = from_first(score)
        if score > self.progressed.best_score:
            self.progressed.best_score = score
            self.best = _copy(evaluated)
            return f"validation {score:.4f} (best)"
        return f"validation {score:.4f}"

    def _save_state(self, stepper: Stepper) -> None:
        if rank() > 0:
            return
        average = None if self.average is None else self.average.module.state_dict()
        state = {
            "settings": self.settings,
            "products": self.products_digest,
            "progressed": asdict(self.progressed),
            "classifier": self.classifier.state_dict(),
            "average": average,
            "best": self.best,
            "stepper": stepper.state_dict(),
        }
        with atomic_write(self.folder / _STATE) as partial:
            torch.save(state, partial)

    def resume(self) -> dict[str, Any] | None:
        """Load the saved state if there is one, and return the state of its stepper."""
        file = self.folder / _STATE
        if not file.exists():
            return None
        state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        before = state.get("settings", {})
        others = [name for name, value in self.settings.items() if before.get(name) != value]
        if others or state["products"] != self.products_digest:
            found = f"settings ({', '.join(others)})" if others else "products or readable pictures"
            raise ConfigError(
                f"{self.folder} cannot be resumed: found the state of a training with other "
                f"{found}, expected this training's. Give the same, with as many processes "
                "(accumulate counts the parts of all). Or remove it to train anew, or give another "
                "--output."
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
    """Copy the frozen part of the image tower into the average.

    An earlier phase may have trained that part. The average lags behind, and cached features are
    those of the classifier's own tower, so epochs would be chosen on another tower than is kept.
    """
    towers = [each.image_tower.pretrained().parameters() for each in (classifier, average)]
    with torch.no_grad():
        for own, averaged in zip(*towers, strict=True):
            if not own.requires_grad:
                averaged.copy_(own)


def _average(classifier: Classifier, decay: float) -> Any:
    # Its decay grows with the steps, so that the random start is soon forgotten.
    return load_extra("timm.utils", "train").ModelEmaV3(classifier, decay, use_warmup=True)
