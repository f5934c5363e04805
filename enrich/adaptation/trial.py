"""Ways to answer a source's labelled products: how well each does, and which is better.

Knows nothing of how they were fitted.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from enrich.calibration import DEFAULT_TARGET_PRECISION, CalibratedSets, ScoreCorrection
from enrich.records import Modalities
from enrich.training.answers import CalibratedAnswers
from enrich.training.measures import Figures
from enrich.training.thresholds import bound_precision

# In nats for each label. A new checkpoint has the whole catalog enriched again: not for less.
_LEAST_GAIN = 0.002
# In nats, over all labels. Chance gains as much with two numbers in one case of twenty (Wilks
# 1938): the standard error alone is too small where a few dozen labels hold few wrong answers.
_LEAST_IN_ALL = 3.0
# The chance that the precision is below the bound that thresholds must keep to stay.
_DOUBT = 0.2
# Fewer given labels say little of a precision.
_FEWEST_GIVEN = 30
# The largest share of all products that may lose their answer for a gain.
_MOST_LOST = 0.1


READ_FROM = {
    Modalities.IMAGE_AND_TEXT: "both",
    Modalities.IMAGE: "the picture alone",
    Modalities.TEXT: "the text alone",
}


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the loss of a label falls: mean over products, and its standard error.

    The loss is the negative log-likelihood, so both are in nats. `labels` is the number of
    products, near-identical ones counted once.
    """

    mean: float
    error: float
    labels: int

    @property
    def is_told(self) -> bool:
        """True for more than chance that is worth a new checkpoint."""
        return self.mean > max(self.error, _LEAST_GAIN, _LEAST_IN_ALL / self.labels)

    @property
    def is_loss(self) -> bool:
        """True for labels that are answered worse, by more than the standard error."""
        return self.mean < -max(self.error, _LEAST_GAIN)


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of adaptation on one attribute.

    `before`, `after` and `gain` are of the same labelled products, each read from all that it has.
    `gains` are, for a set of modalities, of the products that have it, read from that alone.
    `silenced` are the sets of modalities from which nothing reaches a precision of 90 % any more,
    though something did before. `bias_shift` is what is added to the modality bias, the log
    odds of their weight against texts. `given` is the share of the products that is answered at
    90 % by thresholds that all labels prove; in `after` each fold has its own, of fewer labels.
    `is_needed` is true where labels speak against the thresholds of before, and temperatures and
    thresholds alone change.
    """

    before: Figures
    after: Figures
    gain: Gain
    gains: dict[Modalities, Gain]
    silenced: list[Modalities]
    bias_shift: float
    correction: ScoreCorrection | None
    calibrated: CalibratedSets
    given: float
    is_needed: bool = False

    @property
    def worse_from(self) -> list[Modalities]:
        """From which modalities alone products are answered worse, by more than chance."""
        return [modalities for modalities, gain in self.gains.items() if gain.is_loss]

    @property
    def falls_silent(self) -> bool:
        """True where no product is answered at 90 % any more, whatever it has."""
        answers = any(one.ever_answers() for one in self.calibrated.values())
        return bool(self.silenced) and not answers

    @property
    def loses_answers(self) -> bool:
        """True where many precise answers would become abstentions."""
        answered_before = self.before["answered_at_90_threshold"] or 0
        answered_after = self.after["answered_at_90_threshold"] or 0
        held = (self.before["precision_at_90_threshold"] or 0) >= DEFAULT_TARGET_PRECISION
        return held and answered_before - answered_after > _MOST_LOST

    @property
    def drawback(self) -> str | None:
        """Why the attribute is to stay as it was: no gain worth it, or one that is paid for."""
        if self.is_needed:
            return None
        if self.worse_from:
            return f"worse from {' and '.join(READ_FROM[one] for one in self.worse_from)}"
        if not self.gain.is_told:
            return "not surely better"
        if (self.after["accuracy"] or 0) < (self.before["accuracy"] or 0):
            return "fewer answers right"
        return "answers too few" if self.loses_answers else None

    @property
    def is_better(self) -> bool:
        """True for a gain that is worth it, where nothing else got worse."""
        return self.drawback is None


def find_shifts(effects: dict[str, Effect]) -> dict[str, float]:
    """Returns what is added to the modality bias, for attributes that are better for it."""
    return {a: one.bias_shift for a, one in effects.items() if one.is_better and one.bias_shift}


FEWEST_LABELS = 50


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to answer the labelled products, and how it answered them held out.

    `bias_shift` is what is added to the modality bias. `fully` are the answers read from all
    that a product has, as in the job; `partly` those read from each of `Modalities`, in order.
    """

    bias_shift: float
    correction: ScoreCorrection | None
    calibrated: CalibratedSets
    fully: CalibratedAnswers
    partly: list[CalibratedAnswers]

    def keeps_promise(self) -> bool:
        """Return whether the labels leave the thresholds of 90 % precision as they are.

        They do where the lower 80 % bound of the precision (Clopper and Pearson 1934) reaches 90 %,
        and where fewer than 30 products are given a label. Of near-identical ones one counts.
        """
        confidence, best = self.fully.probs.max(1)
        given = confidence >= self.fully.thresholds[DEFAULT_TARGET_PRECISION]
        groups = self.fully.of.groups[given]
        _, first = np.unique(groups.numpy(), return_index=True)
        right = (best == self.fully.of.targets)[given].numpy()[first]
        return len(right) < _FEWEST_GIVEN or (
            bound_precision(int(right.sum()), len(right), _DOUBT) >= DEFAULT_TARGET_PRECISION
        )

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
            bias_shift=self.bias_shift,
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
