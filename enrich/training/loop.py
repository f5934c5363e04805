"""The training loop: phases of epochs, best weights kept, resumable at every step.

The state that a killed run continues from is one file beside the checkpoint, written atomically.
An average of the weights, if asked for, is evaluated and kept in their place.
"""

import errno
import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from enrich.ahead import make_ahead
from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError, StorageFailed, first_line
from enrich.extras import load_extra
from enrich.files.whole import whole_file
from enrich.precision import local_device
from enrich.progress import CONSOLE, say
from enrich.ranks import rank
from enrich.training.batches import Batches, Condition, Hiding, Part, deal, shown_in_training
from enrich.training.config import Phase, TrainingConfig
from enrich.training.distributed import first_then_others, from_first
from enrich.training.evaluation import selection_score
from enrich.training.feature_cache import CachedViews, cache_unseen_views, cache_views
from enrich.training.optimiser import Stepper

# The best epoch has the highest mean accuracy under these.
SELECTED_UNDER = (
    Condition.AS_IS,
    Condition.NO_TEXT,
    Condition.WORDS_MASKED,
    Condition.OTHER_TEXT,
)

# Settings that change none of the weights to come: where files lie (what is read in them counts by
# its content), how often the state is saved, and what is fitted after training.
_WITHOUT_EFFECT = {
    *("cache", "save_every_s", "image_tower", "half_towers", "fit_modality_bias", "conventions"),
}

_STATE = "training_state.pt"
_STEPS_A_POINT = 20

_LINE_EVERY_S = 30.0


@dataclass(slots=True)
class Progressed:
    """How far a run has come and what its best epoch was worth.

    `epoch` counts the phase's finished epochs, `step` and `loss` (summed) are of the one under way;
    `total_steps` is of the whole run, `stale` the phase's epochs since a better score.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    total_steps: int = 0
    best_score: float = -1.0
    stale: int = 0

    def end_step(self, loss: float) -> None:
        """Count a step of the epoch under way."""
        self.step, self.total_steps, self.loss = (
            self.step + 1,
            self.total_steps + 1,
            self.loss + loss,
        )

    def end_epoch(self) -> None:
        """Count an epoch of the phase under way."""
        self.epoch, self.step, self.loss = self.epoch + 1, 0, 0.0

    def end_phase(self) -> None:
        """Count a phase."""
        self.phase, self.epoch, self.stale = self.phase + 1, 0, 0


def name_inputs(
    config: TrainingConfig, classifier: Classifier, batches: Batches, rows: np.ndarray
) -> str:
    """Return a digest of all that a run's weights depend on: another one is another run.

    Args:
        config: The run's settings.
        classifier: As it starts. The weights that are random there follow from the settings.
        batches: All products, their pictures and tokenizer.
        rows: Those to train on.
    """
    digest = hashlib.sha256(config.model_dump_json(exclude=_WITHOUT_EFFECT).encode())
    for half_tower in config.half_towers:
        with (half_tower / "model.safetensors").open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    # What a hub or a folder holds under the same name may be another model by now.
    digest.update(classifier.config.model_dump_json().encode())
    digest.update(batches.encoder.tokenizer.to_str().encode())
    for tower in classifier.pretrained():
        for tensor in tower.state_dict().values():
            # As bytes, because numpy knows no bfloat16.
            digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy())
    products, images = batches.products, batches.images
    # The folder's name changes with any of the files.
    digest.update(images.folder.name.encode())
    for column in (products.texts, products.image_roots, products.image_paths):
        digest.update(repr(column).encode())
    for numbers in (products.targets, products.groups, products.split, images.has_image, rows):
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()


def save_state(file: Path, state: dict[str, Any]) -> None:
    """Write the state: after a kill the file holds either the old one or the new one.

    Raises:
        StorageFailed: it cannot be written.
    """
    with whole_file(file) as partial:
        try:
            torch.save(state, partial)
        except (OSError, RuntimeError) as error:
            # What torch says of a full disk.
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):
                raise
            raise StorageFailed(
                f"{file} cannot be written, is the disk full? {first_line(error)}"
            ) from error


def load_state(file: Path) -> dict[str, Any] | None:
    """Return the saved state, None where none can be read; it holds tensors and plain values.

    They are on the CPU: beside what is trained, a GPU may have no room for them.
    """
    if not file.exists():
        return None
    try:
        with ZipFile(file) as parts:
            if (damaged := parts.testzip()) is not None:
                raise BadZipFile(f"the checksum of {damaged} is another one")
        state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
    except MemoryError:
        raise  # which says nothing of the file
    except Exception as error:  # damaged bytes may raise anything
        if "DefaultCPUAllocator" in str(error):
            raise  # what torch says of a full memory
        # A disk or a server that fails says nothing of the file either. EINVAL does: damaged bytes
        # name a place in the file that cannot be.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        say(f"{file} is damaged, and training starts anew: {first_line(error)}")
        return None
    return state


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
        """Run every phase that is left and leaves the best weights in the classifier.

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
        """Yield this process's parts of every batch that is left of the epoch."""
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
        """Score the epoch, keeps its weights if they are the best yet, and returns what to say."""
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
    """Give the average the image tower's frozen part, which an earlier phase may have trained.

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


class EpochProgress(Progress):
    """Shows an epoch's steps, mean loss and products a second."""

    def __init__(self, title: str, steps: int, done: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=CONSOLE,
            disable=not CONSOLE.is_terminal or rank() > 0,
            transient=True,
        )
        self._title, self._steps, self._done = title, steps, done
        self._products, self._started = 0, time.monotonic()
        self._line_due = self._started + _LINE_EVERY_S
        self._task = self.add_task(title, total=steps, completed=done)

    def count_step(self, mean_loss: float, products: int) -> None:
        """Count one step over so many products; `mean_loss` is of the epoch so far."""
        self._done += 1
        self._products += products
        now = time.monotonic()
        speed = self._products / max(now - self._started, 1e-9)
        text = f"{self._title}: loss {mean_loss:.4f}, {speed:,.0f} products/s"
        self.update(self._task, completed=self._done, description=text)
        if not CONSOLE.is_terminal and now >= self._line_due:
            self._line_due = now + _LINE_EVERY_S
            say(f"{text}, step {self._done:,} of {self._steps:,}")


class Curves:
    """Appends figures to `tensorboard/` in a folder; does nothing if tensorboard is not installed.

    A resumed run goes on at `done_steps`: what was written of later steps is not shown any more.
    """

    def __init__(self, folder: Path, done_steps: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            say("tensorboard is not installed (extra: train): no curves are drawn")
            self._board = None
        else:
            self._board = SummaryWriter(folder / "tensorboard", purge_step=done_steps + 1)

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Add figures at a step of the whole run; what stands before a `/` groups the plots."""
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is left."""
        if self._board is not None:
            self._board.close()
