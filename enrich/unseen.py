"""Unseen sources: their distance from training, and the answers to expect.

From unlabelled products alone. A source that calls things by other names than training did looks
like any other: only labels of its own can tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from enrich.calibration import Least, Thresholds, Transfer, shift_threshold
from enrich.errors import CheckpointError

FILE = "reference.safetensors"
# Products of a source that are looked at, and the fewest that tell anything.
SAMPLE, FEWEST = 2_000, 50
# The share of the sample beyond the distance of 95 % of held-back products of training's sources
# from which on a source counts as unseen.
UNSEEN_FROM = 0.15
# Confidences are too high by this much where all products are far away. Those of the bundled
# checkpoint were 0.03 too low in a shop of sportswear (0.20 far away), and 0.12 too low on
# photographs that people took at home (0.68). Pictures of people were not measured with it.
_GAP = 0.05
# By how much thresholds rise in an unseen source, in log odds: at once, and times the share that is
# far away. Chosen on pictures with other backdrops, cropped ones, and photographs taken at home.
_RISE, _RISE_FAR = 0.4, 0.9
# Below this expected accuracy of the best labels an attribute is not to be trusted.
_TRUSTED_FROM = 0.7


@dataclass(frozen=True, slots=True)
class Reference:
    """Sample of training pictures: unit embeddings (R, D) and a radius.

    The radius holds 95 % of held-back pictures.
    """

    image: np.ndarray
    radius: float

    @classmethod
    def of(cls, training: np.ndarray, held_back: np.ndarray) -> "Reference":
        """Return the reference of embeddings (R, D) and held-back ones (H, D)."""
        image = _unit(training).astype(np.float16)
        return cls(image, float(np.quantile(_distances(held_back, image), 0.95)))

    def save(self, folder: Path) -> None:
        """Write the file of a checkpoint's folder."""
        radius = np.array([self.radius], np.float32)
        # save_file would make it readable by its owner alone.
        (folder / FILE).write_bytes(save({"image": self.image, "radius": radius}))

    def share_far_away(self, embeddings: np.ndarray) -> float:
        """Return the share of embeddings (N, D) beyond the radius, in [0, 1].

        N is 1 at least.
        """
        return float((_distances(embeddings, self.image) > self.radius).mean())


def read_reference(folder: Path) -> Reference | None:
    """Read a checkpoint's reference; None for a checkpoint that brings none.

    Raises CheckpointError if the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        held = load_file(file)
        return Reference(held["image"], float(held["radius"][0]))
    except Exception as error:
        raise CheckpointError(f"{file} is damaged: {error}. Copy the checkpoint again.") from error


@dataclass(frozen=True, slots=True)
class AttributeProfile:
    """Profile of one attribute in a source; all figures are in [0, 1].

    `mean_confidence` and `expected_accuracy` are of the best labels. The latter is None where only
    labels tell: of an attribute whose labels are each shop's convention, in an unseen source.
    `named` is the share of products whose title names one label, `contradicted` the share of these
    with another best label.
    """

    mean_confidence: float
    expected_accuracy: float | None
    named: float
    contradicted: float

    @property
    def is_trusted(self) -> bool:
        """False where too few best labels are expected to be right, or it is unknown."""
        return self.expected_accuracy is not None and self.expected_accuracy >= _TRUSTED_FROM

    @classmethod
    def of(
        cls, probs: np.ndarray, named: np.ndarray, far_away: float, *, is_convention: bool = False
    ) -> "AttributeProfile":
        """Return the profile of probabilities (N, C) and named labels (N, C)."""
        mean = float(probs.max(1).mean())
        names_one = named.sum(1) == 1
        is_other = (named.argmax(1) != probs.argmax(1))[names_one]
        is_tellable = not (is_convention and far_away > UNSEEN_FROM)
        return cls(
            mean_confidence=mean,
            expected_accuracy=max(0.0, mean - _GAP * far_away) if is_tellable else None,
            named=float(names_one.mean()),
            contradicted=float(is_other.mean()) if len(is_other) else 0.0,
        )


@dataclass(frozen=True, slots=True)
class SourceProfile:
    """Profile of a source; `far_away` is a share of its `products`, in [0, 1]."""

    products: int
    far_away: float
    attributes: Mapping[str, AttributeProfile]

    @property
    def is_unseen(self) -> bool:
        """True if the source looks unlike those of training."""
        return self.far_away > UNSEEN_FROM

    @property
    def rise(self) -> float:
        """Rise of the thresholds, in log odds."""
        return round(_RISE + _RISE_FAR * self.far_away, 1) if self.is_unseen else 0.0


def raise_thresholds(thresholds: Thresholds, rise: float, transfer: Transfer) -> Thresholds:
    """Return thresholds of a source like training's, raised by `rise` in log odds.

    Attributes that were fitted to a source's own labels keep theirs. Those whose labels are each
    shop's convention are not answered.
    """
    return {
        attribute: by_modalities
        if attribute in transfer.fitted
        else {
            modalities: Least(
                {
                    kind: np.inf if attribute in transfer.conventions else shifted
                    for kind, least in found.by_evidence.items()
                    for shifted in [shift_threshold(least, rise)]
                },
                found.by_label,
            )
            for modalities, found in by_modalities.items()
        }
        for attribute, by_modalities in thresholds.items()
    }


def _distances(embeddings: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the cosine distance to the nearest of the reference, (N,)."""
    return 1 - (_unit(embeddings) @ reference.astype(np.float32).T).max(1)


def _unit(embeddings: np.ndarray) -> np.ndarray:
    numbers = embeddings.astype(np.float32)
    return numbers / np.maximum(np.linalg.norm(numbers, axis=1, keepdims=True), 1e-6)
