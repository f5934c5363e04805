"""Trials of ways to answer labelled products, and comparison of two.

Temperatures and thresholds are fitted to scores. The products of a fold are answered by what was
fitted without their labels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from enrich.adaptation.readings import fullest
from enrich.adaptation.scores import Scoring
from enrich.calibration import (
    DEFAULT_TARGET_PRECISION,
    TARGET_PRECISIONS,
    CalibratedModalities,
    CalibratedSets,
    EvidenceThresholds,
    ScoreCorrection,
    shift_threshold,
)
from enrich.certificates import bound_share
from enrich.lexicon import Evidence, weigh
from enrich.records import Modalities
from enrich.training.answers import Answers, CalibratedAnswers, Figures
from enrich.training.calibration import fit_temperatures, log_odds, pick_threshold

# In nats for each label. A new checkpoint has the whole catalog enriched again: not for less.
_LEAST_GAIN = 0.002
# In nats, over all labels. Chance gains as much with two numbers in one case of twenty (Wilks
# 1938): the standard error alone is too small where a few dozen labels hold few wrong answers.
_LEAST_IN_ALL = 3.0
# The chance that the precision is below the bound that thresholds must keep to stay.
_RISK = 0.2
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
    """Fall of the negative log-likelihood of a label, in nats.

    `mean` is over products, `error` its standard error. `labels` counts near-identical products
    once.
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

    Attributes:
        before, after, gain: of the same labelled products, each read from all that it has.
        gains: by modalities, of the products that have them, read from these alone.
        bias_shift: shift of the modality bias, in log odds.
        correction: fitted correction.
        calibrated: fitted temperatures and thresholds.
        given: share of products that get a label at 90 %, by thresholds that all labels prove. In
            `after` each fold has thresholds that fewer labels prove.
        is_needed: True if labels refute the old thresholds, and thresholds alone change.
        is_confirmed: True if labels confirm the old thresholds, and nothing changes.
    """

    before: Figures
    after: Figures
    gain: Gain
    gains: dict[Modalities, Gain]
    bias_shift: float
    correction: ScoreCorrection | None
    calibrated: CalibratedSets
    given: float
    is_needed: bool = False
    is_confirmed: bool = False

    @property
    def worse_from(self) -> list[Modalities]:
        """Modalities from which alone products are answered worse, beyond chance."""
        return [modalities for modalities, gain in self.gains.items() if gain.is_loss]

    @property
    def loses_answers(self) -> bool:
        """True where many precise answers would become abstentions."""
        answered_before = self.before["answered_at_90_threshold"] or 0
        answered_after = self.after["answered_at_90_threshold"] or 0
        held = (self.before["precision_at_90_threshold"] or 0) >= DEFAULT_TARGET_PRECISION
        return held and answered_before - answered_after > _MOST_LOST

    @property
    def drawback(self) -> str | None:
        """Reason to leave the attribute as it was; None for a fit that is worth it."""
        if self.is_needed or self.is_confirmed:
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
        """True for a gain that makes nothing else worse, or for proved thresholds."""
        return self.drawback is None


def find_shifts(effects: dict[str, Effect]) -> dict[str, float]:
    """Return the shifts of the modality bias of attributes that are better for it."""
    return {a: one.bias_shift for a, one in effects.items() if one.is_better and one.bias_shift}


FEWEST_LABELS = 50


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to answer the labelled products, and its held-out answers.

    Attributes:
        bias_shift: shift of the modality bias.
        fully: answers read from all that a product has, as in the job.
        partly: answers read from each of `Modalities`, in order.
    """

    bias_shift: float
    correction: ScoreCorrection | None
    calibrated: CalibratedSets
    fully: CalibratedAnswers
    partly: list[CalibratedAnswers]

    def keeps_promise(self) -> bool:
        """Return True unless the labels refute the thresholds of 90 % precision.

        They do not where they confirm them, and where fewer than 30 products get a label.
        """
        return len(self._find_right()) < _FEWEST_GIVEN or self.is_confirmed()

    def is_confirmed(self) -> bool:
        """Return True if the labels confirm the thresholds of 90 % precision.

        They do where 30 products or more get a label, and the lower 80 % bound of the precision
        (Clopper and Pearson 1934) reaches 90 %. Of near-identical ones one counts.
        """
        right = self._find_right()
        return len(right) >= _FEWEST_GIVEN and (
            bound_share(int(right.sum()), len(right), _RISK) >= DEFAULT_TARGET_PRECISION
        )

    def _find_right(self) -> np.ndarray:
        """Return whether each given label is right, of near-identical products one."""
        confidence, best = self.fully.probs.max(1)
        given = confidence >= self.fully.thresholds[DEFAULT_TARGET_PRECISION]
        groups = self.fully.of.groups[given]
        _, first = np.unique(groups.numpy(), return_index=True)
        right: np.ndarray = (best == self.fully.of.targets)[given].numpy()[first]
        return right

    def compare(self, before: "Trial") -> Effect:
        """Return the effect of this trial in the place of another."""
        answered = CalibratedAnswers.by(self.fully.of, self.calibrated)
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
            bias_shift=self.bias_shift,
            correction=self.correction,
            calibrated=self.calibrated,
            given=float(answered.measure().get("answered_at_90_threshold") or 0),
        )


def measure_gain(after: CalibratedAnswers, before: CalibratedAnswers) -> Gain:
    """Return the gain of answers over others to the same products.

    The standard error is that of a mean over clusters of near-identical products (Liang and Zeger
    1986), with the usual factor for a small number of clusters.
    """
    gains = measure_losses(before) - measure_losses(after)
    known, numbered = after.of.groups.unique(return_inverse=True)
    sums = torch.zeros(len(known)).index_add_(0, numbered, gains - gains.mean())
    if len(known) < 2:
        return Gain(gains.mean().item(), math.inf, len(known))
    spread = sums.square().sum() * len(known) / (len(known) - 1)
    return Gain(gains.mean().item(), spread.sqrt().item() / len(gains), len(known))


def measure_losses(answers: CalibratedAnswers) -> Float[Tensor, " M"]:
    """Return the negative log-likelihood of each label, in nats."""
    logs = answers.probs.clamp(min=1e-9).log()
    return F.nll_loss(logs, answers.of.targets, reduction="none")


# By how much the summed loss must fall, in nats, for a new temperature to be more than chance: by
# Akaike's criterion, which asks for 1 for each fitted number.
_LEAST_FALL = 1.0


def leave(readings: list[Answers], base: CalibratedSets, earlier: ScoreCorrection | None) -> Trial:
    """Return the trial of the checkpoint as it is."""
    return Trial(
        bias_shift=0.0,
        correction=earlier,
        calibrated=base,
        fully=CalibratedAnswers.by(fullest(readings), base),
        partly=[CalibratedAnswers.by(reading, base) for reading in readings],
    )


def calibrate_held_out(scoring: Scoring, fold_of: Int[Tensor, " N"], base: CalibratedSets) -> Trial:
    """Return temperatures and thresholds fitted to these scores, and held-out answers."""
    readings = scoring.held_out(fold_of)
    common = [len(reading) >= FEWEST_LABELS for reading in readings]
    fully, *partly = filled = [_unanswered(one) for one in (fullest(readings), *readings)]
    for fold, answers in enumerate(scoring.without):
        others = [one.where(fold_of[one.product] != fold) for one in answers]
        calibrated = _calibrate(others, base, common)
        for whole, reading in zip(filled, (fullest(answers), *answers), strict=True):
            here = fold_of[reading.product] == fold
            held_out = CalibratedAnswers.by(reading.where(here), calibrated)
            whole.probs[here] = held_out.probs
            for precision, thresholds in held_out.thresholds.items():
                whole.thresholds[precision][here] = thresholds
    return Trial(
        bias_shift=scoring.bias_shift,
        correction=scoring.correction,
        calibrated=_calibrate(readings, base, common),
        fully=fully,
        partly=partly,
    )


def _unanswered(answers: Answers) -> CalibratedAnswers:
    """Return calibrated answers that are still to be filled in, fold by fold."""
    thresholds = {precision: torch.empty(len(answers)) for precision in TARGET_PRECISIONS}
    return CalibratedAnswers(answers, torch.empty_like(answers.logits), thresholds)


def _calibrate(
    corrected: list[Answers], base: CalibratedSets, common: list[bool]
) -> CalibratedSets:
    """Return temperatures and thresholds fitted to corrected logits.

    Modalities that are not `common`, because few products have them, keep their temperature. Their
    thresholds are the higher of their own and those fitted to all products.
    """
    calibrated = {
        modalities: _fit_temperatures(reading, base[modalities]) if is_common else base[modalities]
        for modalities, reading, is_common in zip(Modalities, corrected, common, strict=True)
    }
    whole = fullest(corrected)
    for modalities, reading, is_common in zip(Modalities, corrected, common, strict=True):
        own = base[modalities].thresholds
        picked = pick_thresholds(reading if is_common else whole, calibrated, own)
        if not is_common:
            picked = {name: _strictest(own[name], picked[name]) for name in own}
        calibrated[modalities] = calibrated[modalities].model_copy(update={"thresholds": picked})
    return calibrated


def _fit_temperatures(reading: Answers, own: CalibratedModalities) -> CalibratedModalities:
    """Return new temperatures if better by more than chance, else the checkpoint's."""
    temperature, image_temperature = fit_temperatures([reading.to_calibrate()], near=own)
    fitted = {"temperature": temperature, "image_temperature": image_temperature}
    kept, new = (own.model_copy(update=some | {"rows": len(reading)}) for some in ({}, fitted))
    loss_before, loss_after = (
        measure_losses(CalibratedAnswers.by(reading, dict.fromkeys(Modalities, one))).sum().item()
        for one in (kept, new)
    )
    return new if loss_before - loss_after > _LEAST_FALL else kept


def pick_thresholds(
    reading: Answers, calibrated: CalibratedSets, before: Mapping[str, EvidenceThresholds]
) -> dict[str, EvidenceThresholds]:
    """Return the thresholds whose precision these answers prove, else None.

    All old thresholds move by the same log odds. Few labels cannot tell the kinds of evidence
    apart, and the old thresholds rest on thousands of rows. Without old thresholds all are the
    same.
    """
    answers = CalibratedAnswers.by(reading, calibrated)
    highest, best = answers.probs.max(1)
    confidence, is_right = highest.numpy(), (best == reading.targets).numpy()
    evidence = weigh(reading.named.numpy(), best.numpy())
    picked, labels = {}, answers.probs.shape[1]
    for name, own in before.items():
        if all(one is None for one in own.values()):
            own = dict.fromkeys(Evidence, 0.5)
        # Of a kind that was never answered nothing is answered here.
        each = [own[kind] for kind in Evidence]
        least = np.array([np.inf if one is None else float(log_odds(one)) for one in each])
        # Nor is an answer below the floor of its label.
        at = {m: one.at_precision(float(name), labels) for m, one in calibrated.items()}
        rows = zip(reading.modalities, best.tolist(), strict=True)
        floor = np.array([at[modalities].by_label[label] for modalities, label in rows])
        score = np.where(confidence < floor, -np.inf, log_odds(confidence) - least[evidence])
        shift = pick_threshold(score, is_right, reading.groups.numpy(), float(name), confidence)
        picked[name] = {
            kind: None if shift is None or least is None else shift_threshold(least, shift)
            for kind, least in own.items()
        }
    return picked


def _strictest(one: EvidenceThresholds, other: EvidenceThresholds) -> EvidenceThresholds:
    """Return the higher of two thresholds of each kind; None is the highest."""
    found: EvidenceThresholds = {}
    for kind in Evidence:
        first, second = one[kind], other[kind]
        found[kind] = None if first is None or second is None else max(first, second)
    return found
