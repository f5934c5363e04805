"""Ways to answer a shop's labelled products: how well each did on them, and which is better.

Knows nothing of how they were fitted.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from enrich.adaptation.effect import Effect, Gain
from enrich.calibration import CalibratedSets, ScoreCorrection
from enrich.records import Modalities
from enrich.training.answers import CalibratedAnswers

FEWEST_LABELS = 50


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to answer the labelled products, and how it answered them held out.

    `trust_shift` is what is added to the trust in pictures. `fully` are the answers read from all
    that a product has, as in the job; `partly` those read from each of `Modalities`, in order.
    """

    trust_shift: float
    correction: ScoreCorrection | None
    calibrated: CalibratedSets
    fully: CalibratedAnswers
    partly: list[CalibratedAnswers]

    def compare(self, before: "Trial") -> Effect:
        """Returns what would change if this were done instead of what was tried before."""
        settled = CalibratedAnswers.by(self.fully.of, self.calibrated)
        return Effect(
            before=before.fully.measure(),
            after=self.fully.measure(),
            gain=measure_gain(self.fully, before.fully),
            gains={
                modalities: measure_gain(here, there)
                for modalities, here, there in zip(
                    Modalities, self.partly, before.partly, strict=True
                )
                if len(here.of) >= FEWEST_LABELS
            },
            silenced=[
                modalities
                for modalities, one in self.calibrated.items()
                if before.calibrated[modalities].ever_answers() and not one.ever_answers()
            ],
            trust_shift=self.trust_shift,
            correction=self.correction,
            calibrated=self.calibrated,
            given=float(settled.measure().get("answered_at_90_threshold") or 0),
        )


def measure_gain(after: CalibratedAnswers, before: CalibratedAnswers) -> Gain:
    """Returns the gain of some answers over others to the same products.

    Near-identical products are answered alike: the standard error is that of a mean over clusters
    (Liang and Zeger 1986), with the usual factor for a small number of clusters.
    """
    gains = measure_losses(before) - measure_losses(after)
    known, numbered = after.of.groups.unique(return_inverse=True)
    sums = torch.zeros(len(known)).index_add_(0, numbered, gains - gains.mean())
    if len(known) < 2:
        return Gain(gains.mean().item(), math.inf, len(known))
    spread = sums.square().sum() * len(known) / (len(known) - 1)
    return Gain(gains.mean().item(), spread.sqrt().item() / len(gains), len(known))


def measure_losses(answers: CalibratedAnswers) -> Float[Tensor, " M"]:
    """Returns the negative log-likelihood of each label, in nats."""
    logs = answers.probs.clamp(min=1e-9).log()
    return F.nll_loss(logs, answers.of.targets, reduction="none")


def summed_loss(
    logits: Float[Tensor, "N C"], log_temperature: Float[Tensor, " N"], targets: Int[Tensor, " N"]
) -> Float[Tensor, ""]:
    """Returns the negative log-likelihood of the labels, in nats, summed over the rows.

    `log_temperature` is the logarithm of each row's temperature.
    """
    return F.cross_entropy(logits / log_temperature.exp().unsqueeze(1), targets, reduction="sum")
