"""Fits corrections, temperatures and thresholds to a shop, and measures what they are worth there.

Every figure is cross-validated: a product is answered by what was fitted to products of other
texts, with a prior whose strength was chosen on those as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from enrich.adaptation.corrections import Corrections
from enrich.adaptation.fitting import STRENGTHS, Labelled, Layer, choose_strength, fit_layer
from enrich.adaptation.readings import Reading, fullest, take_readings
from enrich.calibration import TARGET_PRECISIONS, CalibratedModalities, Calibration, Correction
from enrich.engine import Engine
from enrich.records import Modalities
from enrich.training.calibration import Scored, fit_temperatures, pick_threshold, strictest
from enrich.training.metrics import Figures, measure, measure_thresholds

FEWEST_LABELS = 50
# In nats. A new checkpoint has the whole catalog enriched again: that is not done for less.
LEAST_GAIN = 0.002
# Of the products, how many may lose their answer for that.
_MOST_LOST = 0.1
_FOLDS = 5

CalibratedSets = dict[Modalities, CalibratedModalities]


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much less a label surprises afterwards: mean over products, and its standard error.

    Both in nats.
    """

    mean: float
    error: float

    @property
    def least(self) -> float:
        """Returns what is more than chance and more than next to nothing."""
        return max(self.error, LEAST_GAIN)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What adaptation does to one attribute.

    `before`, `after` and `gain` are of the same labelled products, each read from all that it has;
    `gains` are of those that have a set of modalities, read from no more than that.
    """

    before: Figures
    after: Figures
    gain: Gain
    gains: dict[Modalities, Gain]
    correction: Correction
    calibrated: CalibratedSets

    @property
    def worse_from(self) -> list[Modalities]:
        """From which modalities alone products are answered worse, by more than chance."""
        return [modalities for modalities, gain in self.gains.items() if gain.mean < -gain.least]

    @property
    def loses_answers(self) -> bool:
        """Whether many products would be abstained on whose answers are precise enough now."""
        answered_before = self.before["answered_at_90_threshold"] or 0
        answered_after = self.after["answered_at_90_threshold"] or 0
        held = (self.before["precision_at_90_threshold"] or 0) >= 0.90
        return held and answered_before - answered_after > _MOST_LOST

    @property
    def is_better(self) -> bool:
        """Whether the gain is more than chance and worth it, and nothing was paid for it."""
        is_as_right = (self.after["accuracy"] or 0) >= (self.before["accuracy"] or 0)
        is_paid = self.worse_from or self.loses_answers
        return self.gain.mean > self.gain.least and is_as_right and not is_paid


def adapt(engine: Engine, corrections: Corrections) -> dict[str, Outcome]:
    """Returns what adaptation does to each attribute that enough products are labelled with."""
    return {
        attribute: adapt_attribute(readings, corrections.groups, engine.calibration, attribute)
        for attribute, readings in take_readings(engine, corrections).items()
        if len(fullest(readings)) >= FEWEST_LABELS
    }


def adapt_attribute(
    readings: list[Reading], groups: np.ndarray, calibration: Calibration, attribute: str
) -> Outcome:
    """Returns the attribute's correction, its new calibration, and what they change.

    Where a correction does not pay, new temperatures and thresholds alone still may.

    Args:
        readings: Of each set of modalities, at least `FEWEST_LABELS` products.
        groups: For every product, a number that products with the same text share.
        calibration: The checkpoint's own.
        attribute: Which one it is.
    """
    corrected = _adapt(readings, groups, calibration, attribute, STRENGTHS)
    if corrected.is_better:
        return corrected
    return _adapt(readings, groups, calibration, attribute, (math.inf,))


def _adapt(
    readings: list[Reading],
    groups: np.ndarray,
    calibration: Calibration,
    attribute: str,
    strengths: Sequence[float],
) -> Outcome:
    base = calibration.attributes[attribute]
    whole = fullest(readings)
    fold_of = _deal_folds(groups)
    folds = fold_of[whole.product]
    common = [len(reading) >= FEWEST_LABELS for reading in readings]

    layers = []
    answered = [_Answered.none(reading) for reading in (whole, *readings)]
    for fold in range(_FOLDS):
        # Temperatures and thresholds for the fold are fitted to others that were held out in turn.
        without = _fit_without(fold, whole, folds, groups, base, strengths)
        corrected = [_correct_held_out(one, without, fold_of) for one in readings]
        others = [one.where(fold_of[one.product] != fold) for one in corrected]
        calibrated = _calibrate(others, groups, base, common)
        for one, held_out in zip(answered, (fullest(corrected), *corrected), strict=True):
            here = fold_of[held_out.product] == fold
            one.probs[here], one.thresholds[:, here] = _answer(held_out.where(here), calibrated)
        layers.append(without[fold])
    before, base_thresholds = _answer(whole, base)
    layer = _fit(whole, base, _choose_strength(whole, groups, base, strengths))
    corrected = [_correct_held_out(reading, layers, fold_of) for reading in readings]
    fully, *partly = answered
    return Outcome(
        before=_measure(before, base_thresholds, whole),
        after=_measure(fully.probs, fully.thresholds, whole),
        gain=fully.gain(base, groups),
        gains={
            modalities: one.gain(base, groups)
            for modalities, one, is_common in zip(Modalities, partly, common, strict=True)
            if is_common
        },
        correction=_compose(layer, calibration.corrections.get(attribute)),
        calibrated=_calibrate(corrected, groups, base, common),
    )


@dataclass(frozen=True, slots=True)
class _Answered:
    """A reading, and what its products are answered by what was fitted to the others."""

    reading: Reading
    probs: Float[Tensor, "M C"]
    thresholds: Float[Tensor, "P M"]

    @classmethod
    def none(cls, reading: Reading) -> "_Answered":
        """Returns room for the answers of every fold."""
        thresholds = torch.empty(len(TARGET_PRECISIONS), len(reading))
        return cls(reading, torch.empty_like(reading.logits), thresholds)

    def gain(self, base: CalibratedSets, groups: np.ndarray) -> Gain:
        """Returns the gain over the calibration before.

        Products of one text are answered alike: the standard error is that of a mean over clusters.
        """
        before, _ = _answer(self.reading, base)
        gains = _surprise(before, self.reading) - _surprise(self.probs, self.reading)
        own = groups[self.reading.product.numpy()]
        known, numbered = np.unique(own, return_inverse=True)
        sums = torch.zeros(len(known)).index_add_(
            0, torch.from_numpy(numbered), gains - gains.mean()
        )
        if len(known) < 2:
            return Gain(gains.mean().item(), math.inf)
        spread = sums.square().sum() * len(known) / (len(known) - 1)
        return Gain(gains.mean().item(), spread.sqrt().item() / len(gains))


def _deal_folds(groups: np.ndarray) -> Tensor:
    """Returns the fold of each member of a group; all of a group are in one."""
    known, numbered = np.unique(groups, return_inverse=True)
    return torch.from_numpy(np.random.default_rng(0).permutation(len(known))[numbered] % _FOLDS)


def _fit_without(
    fold: int,
    whole: Reading,
    folds: Tensor,
    groups: np.ndarray,
    base: CalibratedSets,
    strengths: Sequence[float],
) -> list[Layer]:
    """Returns for each fold a layer that has seen neither its labels nor those of `fold`."""
    left = folds != fold
    strength = _choose_strength(whole.where(left), groups, base, strengths)
    return [_fit(whole.where(left & (folds != other)), base, strength) for other in range(_FOLDS)]


def _choose_strength(
    reading: Reading, groups: np.ndarray, base: CalibratedSets, strengths: Sequence[float]
) -> float:
    folds = _deal_folds(groups[reading.product.numpy()])
    rows = [(folds == fold).nonzero().flatten() for fold in range(_FOLDS)]
    return choose_strength(_label(reading, base), rows, strengths)


def _fit(reading: Reading, base: CalibratedSets, strength: float) -> Layer:
    return fit_layer(_label(reading, base), strength)


def _label(reading: Reading, base: CalibratedSets) -> Labelled:
    return Labelled(reading.logits, reading.targets, reading.log_temperature(base))


def _correct_held_out(reading: Reading, layers: list[Layer], fold_of: Tensor) -> Reading:
    """Returns the reading with each product corrected by the layer that has not seen it."""
    logits = reading.logits.clone()
    for fold, layer in enumerate(layers):
        here = fold_of[reading.product] == fold
        logits[here] = layer(reading.logits[here])
    return Reading(
        reading.product, reading.modalities, logits, reading.targets, reading.image_weight
    )


def _calibrate(
    corrected: list[Reading], groups: np.ndarray, base: CalibratedSets, common: list[bool]
) -> CalibratedSets:
    """Returns temperatures and thresholds fitted to corrected logits.

    A set of modalities that is not common keeps its temperature, and of its own thresholds and
    those of all products the higher ones: how it does in this shop is not known.
    """
    calibrated = {
        modalities: _fit_temperatures(reading, base[modalities]) if is_common else base[modalities]
        for modalities, reading, is_common in zip(Modalities, corrected, common, strict=True)
    }
    whole = fullest(corrected)
    for modalities, reading, is_common in zip(Modalities, corrected, common, strict=True):
        own = base[modalities].thresholds
        found = _pick_thresholds(reading if is_common else whole, groups, calibrated, own)
        if not is_common:
            found = {name: strictest([own[name], found[name]]) for name in own}
        calibrated[modalities] = calibrated[modalities].model_copy(update={"thresholds": found})
    return calibrated


def _fit_temperatures(reading: Reading, own: CalibratedModalities) -> CalibratedModalities:
    # The weight tells nothing where a row has one modality.
    mixed = set(reading.modalities) == {Modalities.IMAGE_AND_TEXT}
    scored = Scored(reading.logits, reading.targets, reading.image_weight if mixed else None)
    temperature, image_temperature = fit_temperatures([scored], near=own)
    fitted = {"temperature": temperature, "image_temperature": image_temperature}
    return own.model_copy(update=fitted | {"rows": len(reading)})


def _pick_thresholds(
    reading: Reading,
    groups: np.ndarray,
    calibrated: CalibratedSets,
    before: Mapping[str, float | None],
) -> dict[str, float | None]:
    """Returns the thresholds that the reading's answers ask for, or those of before.

    So many right answers as a bound on the precision wants cannot be had of some dozens of labels.
    Such a threshold stays what thousands of others made it if it holds its precision here.
    """
    confidence, best = reading.probabilities(calibrated).max(1)
    is_right = best == reading.targets
    _, numbered, sizes = np.unique(
        groups[reading.product.numpy()], return_inverse=True, return_counts=True
    )
    evidence = torch.from_numpy(1 / sizes)[torch.from_numpy(numbered)]
    found = {}
    for name, own in before.items():
        found[name] = pick_threshold(confidence, is_right, float(name), evidence)
        if found[name] is None and own is not None:
            answered = is_right[confidence >= own].double()
            if len(answered) and answered.mean() >= float(name):
                found[name] = own
    return found


def _answer(
    reading: Reading, calibrated: CalibratedSets
) -> tuple[Float[Tensor, "M C"], Float[Tensor, "P M"]]:
    """Returns calibrated probabilities, and each row's threshold for every target precision."""
    found = [
        [calibrated[m].thresholds[f"{precision:.2f}"] for m in reading.modalities]
        for precision in TARGET_PRECISIONS
    ]
    never = float("inf")
    thresholds = torch.tensor([[never if t is None else t for t in row] for row in found])
    return reading.probabilities(calibrated), thresholds


def _measure(
    probs: Float[Tensor, "M C"], thresholds: Float[Tensor, "P M"], reading: Reading
) -> Figures:
    by_precision = dict(zip(TARGET_PRECISIONS, thresholds, strict=True))
    return measure(probs, reading.targets) | measure_thresholds(
        probs, reading.targets, by_precision
    )


def _surprise(probs: Float[Tensor, "M C"], reading: Reading) -> Float[Tensor, " M"]:
    return F.nll_loss(probs.clamp(min=1e-9).log(), reading.targets, reduction="none")


def _compose(layer: Layer, before: Correction | None) -> Correction:
    """Returns the correction of raw logits, which an earlier one may have gone before."""
    weight, bias = layer.weight, layer.bias
    if before is not None:
        bias = bias + weight @ torch.tensor(before.bias)
        weight = weight @ torch.tensor(before.weight)
    return Correction(weight=tuple(map(tuple, weight.tolist())), bias=tuple(bias.tolist()))
