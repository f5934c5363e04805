"""What adaptation does to an attribute, and whether that is better.

Knows nothing of how it was fitted.
"""

from dataclasses import dataclass

from enrich.calibration import DEFAULT_TARGET_PRECISION, CalibratedSets, ScoreCorrection
from enrich.records import Modalities
from enrich.training.measures import Figures

# In nats for each label. A new checkpoint has the whole catalog enriched again: not for less.
_LEAST_GAIN = 0.002
# In nats, over all labels. Chance gains as much with two numbers in one case of twenty (Wilks
# 1938): the standard error alone is too small where a few dozen labels hold few wrong answers.
_LEAST_IN_ALL = 3.0
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
        """Whether it is more than chance, and worth a new checkpoint."""
        return self.mean > max(self.error, _LEAST_GAIN, _LEAST_IN_ALL / self.labels)

    @property
    def is_loss(self) -> bool:
        """Whether labels are answered worse afterwards, by more than the standard error."""
        return self.mean < -max(self.error, _LEAST_GAIN)


@dataclass(frozen=True, slots=True)
class Effect:
    """What adaptation does to one attribute.

    `before`, `after` and `gain` are of the same labelled products, each read from all that it has.
    `gains` are, for a set of modalities, of the products that have it, read from that alone.
    `silenced` are the sets of modalities from which nothing reaches a precision of 90 % any more,
    though something did before. `trust_shift` is what is added to the trust in pictures, the log
    odds of their weight against texts. `given` is the share of the products that is answered at
    90 % by thresholds that all labels prove; in `after` each fold has its own, of fewer labels.
    """

    before: Figures
    after: Figures
    gain: Gain
    gains: dict[Modalities, Gain]
    silenced: list[Modalities]
    trust_shift: float
    correction: ScoreCorrection | None
    calibrated: CalibratedSets
    given: float

    @property
    def worse_from(self) -> list[Modalities]:
        """From which modalities alone products are answered worse, by more than chance."""
        return [modalities for modalities, gain in self.gains.items() if gain.is_loss]

    @property
    def falls_silent(self) -> bool:
        """Whether no product at all is answered at 90 % any more, whatever it has."""
        answers = any(one.ever_answers() for one in self.calibrated.values())
        return bool(self.silenced) and not answers

    @property
    def loses_answers(self) -> bool:
        """Whether many products would be abstained on whose answers are precise enough now."""
        answered_before = self.before["answered_at_90_threshold"] or 0
        answered_after = self.after["answered_at_90_threshold"] or 0
        held = (self.before["precision_at_90_threshold"] or 0) >= DEFAULT_TARGET_PRECISION
        return held and answered_before - answered_after > _MOST_LOST

    @property
    def drawback(self) -> str | None:
        """Why the attribute is to stay as it was: no gain worth it, or one that is paid for."""
        if self.worse_from:
            return f"worse from {' and '.join(READ_FROM[one] for one in self.worse_from)}"
        if not self.gain.is_told:
            return "not surely better"
        if (self.after["accuracy"] or 0) < (self.before["accuracy"] or 0):
            return "fewer answers right"
        return "answers too few" if self.loses_answers else None

    @property
    def is_better(self) -> bool:
        """Whether the gain is more than chance and worth it, and nothing else got worse for it."""
        return self.drawback is None


def find_shifts(effects: dict[str, Effect]) -> dict[str, float]:
    """Returns what is added to the trust in pictures, for attributes that are better for it."""
    return {a: one.trust_shift for a, one in effects.items() if one.is_better and one.trust_shift}
