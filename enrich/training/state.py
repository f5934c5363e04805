"""What a killed training run goes on from: how far it came, and on which inputs.

It lies in one file beside the checkpoint, written atomically.
"""

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch

from enrich.classifiers.interface import Classifier
from enrich.errors import StorageFailed, first_line
from enrich.files.whole import whole_file
from enrich.progress import say
from enrich.training.batches import Batches
from enrich.training.config import TrainingConfig

# Settings that change none of the weights to come: where files lie (what is read in them counts by
# its content), how often the state is saved, and what is fitted after training.
_WITHOUT_EFFECT = {
    *("cache", "save_every_s", "image_tower", "half_towers", "fit_trust", "conventions"),
}


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
        """Counts a step of the epoch under way."""
        self.step, self.total_steps, self.loss = (
            self.step + 1,
            self.total_steps + 1,
            self.loss + loss,
        )

    def end_epoch(self) -> None:
        """Counts an epoch of the phase under way."""
        self.epoch, self.step, self.loss = self.epoch + 1, 0, 0.0

    def end_phase(self) -> None:
        """Counts a phase."""
        self.phase, self.epoch, self.stale = self.phase + 1, 0, 0


def name_inputs(
    config: TrainingConfig, classifier: Classifier, batches: Batches, rows: np.ndarray
) -> str:
    """Returns a digest of all that a run's weights depend on: another one is another run.

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
    """Writes the state: after a kill the file holds either the old one or the new one.

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
    """Returns the saved state, None where none can be read; it holds tensors and plain values.

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
