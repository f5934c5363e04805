"""How ways to answer a shop's labelled products did on them, and how one compares to another.

Knows nothing of how they were fitted.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from enrich.adaptation.effect import CalibratedSets, Effect, Gain
from enrich.adaptation.readings import Reading
from enrich.calibration import TARGET_PRECISIONS, ScoreCorrection
from enrich.records import Modalities
from enrich.training.measures import Figures, measure, measure_thresholds

FEWEST_LABELS = 50


@dataclass(frozen=True, slots=True)
class Answered:
    """A reading, and how its products were answered: held out, if anything was fitted."""

    reading: Reading
    probs: Float[Tensor, "M C"]
    thresholds: Float[Tensor, "P M"]

    @classmethod
    def none(cls, reading: Reading) -> "Answered":
        """Returns room for the answers of every fold."""
        thresholds = torch.empty(len(TARGET_PRECISIONS), len(reading))
        return cls(reading, torch.empty_like(reading.logits), thresholds)

    @classmethod
    def by(cls, reading: Reading, calibrated: CalibratedSets) -> "Answered":
        """Returns calibrated answers, and each row's threshold for every target precision."""
        thresholds = [
            [calibrated[m].threshold(precision) for m in reading.modalities]
            for precision in TARGET_PRECISIONS
        ]
        return cls(reading, reading.probabilities(calibrated), torch.tensor(thresholds))

    def measure(self) -> Figures:
        """Returns all figures, those of the thresholds too."""
        by_precision = dict(zip(TARGET_PRECISIONS, self.thresholds, strict=True))
        return measure(self.probs, self.reading.targets) | measure_thresholds(
            self.probs, self.reading.targets, by_precision
        )

    def gain(self, before: "Answered", groups: np.ndarray) -> Gain:
        """Returns the gain over other answers to the same products.

        Near-identical products are answered alike: the standard error is that of a mean over
        clusters.
        """
        gains = before.surprise() - self.surprise()
        own = groups[self.reading.product.numpy()]
        known, numbered = np.unique(own, return_inverse=True)
        sums = torch.zeros(len(known)).index_add_(
            0, torch.from_numpy(numbered), gains - gains.mean()
        )
        if len(known) < 2:
            return Gain(gains.mean().item(), math.inf)
        spread = sums.square().sum() * len(known) / (len(known) - 1)
        return Gain(gains.mean().item(), spread.sqrt().item() / len(gains))

    def surprise(self) -> Float[Tensor, " M"]:
        """Returns the negative log-likelihood of each label, in nats."""
        logs = self.probs.clamp(min=1e-9).log()
        return F.nll_loss(logs, self.reading.targets, reduction="none")


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to answer the labelled products, and how it answered them held out.

    `fully` are the products as the job reads them, `partly` as they are read from each set of
    modalities.
    """

    correction: ScoreCorrection | None
    calibrated: CalibratedSets
    fully: Answered
    partly: list[Answered]

    def compare(self, before: "Trial", groups: np.ndarray) -> Effect:
        """Returns what would change if this were done instead of what was tried before."""
        return Effect(
            before=before.fully.measure(),
            after=self.fully.measure(),
            gain=self.fully.gain(before.fully, groups),
            gains={
                modalities: here.gain(there, groups)
                for modalities, here, there in zip(
                    Modalities, self.partly, before.partly, strict=True
                )
                if len(here.reading) >= FEWEST_LABELS
            },
            silenced=[
                modalities
                for modalities, one in self.calibrated.items()
                if one.thresholds["0.90"] is None
                and before.calibrated[modalities].thresholds["0.90"] is not None
            ],
            correction=self.correction,
            calibrated=self.calibrated,
        )
