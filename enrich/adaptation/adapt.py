"""Fit modality bias, corrections, temperatures and thresholds to a source.

Every figure is cross-validated by groups of near-identical products, the strength of the prior
included. Labels that say little of a source are refused: what is fitted to them looks good on them
and is worse elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from enrich.adaptation.readings import FindsEncodings, Readings, fullest, take_readings
from enrich.adaptation.scores import deal_folds, leave_scores, weigh_anew, with_correction
from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.trial import FEWEST_LABELS, Effect, Trial, calibrate_held_out, leave
from enrich.calibration import CalibratedSets, Calibration
from enrich.engine.engine import Engine
from enrich.terminal import watch
from enrich.training.answers import Answers, CalibratedAnswers
from enrich.training.labelled import UNLABELLED

# Where confidence is further off than this, and answers are hardly ever right, the labelled
# products were chosen for being wrong. In a shop that no training had seen, the lowest accuracy of
# 15 kinds of goods was 0.20.
_SUSPICIOUS_ECE, _HARDLY_EVER_RIGHT = 0.3, 0.1
_ADVICE = "label products that --suggest draws"


def find_flaw(answers: Answers, calibrated: CalibratedSets, names: Sequence[str]) -> str | None:
    """Return the reason not to fit to these labels, None without one."""
    given = answers.targets.unique().tolist()
    if len(given) == 1:
        return f"all its labels are '{names[given[0]]}', which says nothing of others: {_ADVICE}"
    figures = CalibratedAnswers.by(answers, calibrated).measure()
    accuracy, ece = figures["accuracy"] or 0, figures["ece"] or 0
    if accuracy >= _HARDLY_EVER_RIGHT or ece <= _SUSPICIOUS_ECE:
        return None
    return (
        f"the classifier is right in {accuracy:.0%} of these products, far less than its "
        "confidence says. If they were chosen because it got them wrong, fitting teaches it its "
        f"mistakes: {_ADVICE}"
    )


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Effects of adaptation by attribute, and the reasons where it was not tried.

    `too_few` and `flaws` are such reasons. `outlooks` are of added attributes, `stored` counts
    labelled products whose encoding was stored, `images_opened` pictures that were decoded.
    """

    effects: dict[str, Effect]
    too_few: dict[str, str]
    flaws: dict[str, str]
    outlooks: dict[str, "Outlook"] = field(default_factory=dict)
    stored: int = 0
    images_opened: int = 0

    @property
    def left(self) -> dict[str, str]:
        """Reasons by attribute that stays as it was, because untried or no better."""
        tried = {name: effect.drawback for name, effect in self.effects.items()}
        return self.too_few | self.flaws | {name: why for name, why in tried.items() if why}


@dataclass(frozen=True, slots=True)
class Outlook:
    """Accuracy in [0, 1] with half of the labels, and expected with twice as many.

    The error of a fit falls about as one over the root of the number of labels. So twice as many
    labels gain 0.7 of what the second half of them gained.
    """

    labels: int
    at_half: float
    at_twice: float

    @classmethod
    def of(cls, labels: int, accuracy: float, at_half: float) -> "Outlook":
        """Return the outlook from the accuracies with all labels and with half of them."""
        gain = max(0.0, accuracy - at_half) / math.sqrt(2)
        return cls(labels, at_half, min(1.0, round(accuracy + gain, 4)))


def adapt(
    engine: Engine, labels: ShopLabels, find_encodings: FindsEncodings | None = None
) -> Adaptation:
    """Try adaptation on each attribute with enough labels that say enough.

    Raises ConfigError if images are named, and 0 of them can be read.
    """
    calibration = engine.answerer.calibration
    read = take_readings(engine, labels, find_encodings)
    taken = read.by_attribute
    answers = {attribute: fullest(readings.answers) for attribute, readings in taken.items()}
    too_few, flaws = {}, {}
    for attribute, targets in labels.targets.items():
        base, names = calibration.attributes[attribute], labels.labels[attribute]
        if shortage := _tell_shortage(targets, answers.get(attribute)):
            too_few[attribute] = shortage
        elif flaw := find_flaw(answers[attribute], base, names):
            flaws[attribute] = flaw
    fitted = [attribute for attribute in labels.targets if attribute not in {*too_few, *flaws}]
    fold_of = deal_folds(torch.from_numpy(labels.groups))
    effects = {
        attribute: adapt_attribute(taken[attribute], fold_of, calibration, attribute)
        for attribute in watch(fitted, "fitting", len(fitted))
    }
    outlooks = {
        attribute: _look_ahead(taken[attribute], fold_of, calibration, attribute, effect)
        for attribute, effect in effects.items()
        if taken[attribute].is_added
    }
    return Adaptation(effects, too_few, flaws, outlooks, read.stored, read.images_opened)


def _look_ahead(
    readings: Readings,
    fold_of: Int[Tensor, " N"],
    calibration: Calibration,
    attribute: str,
    effect: Effect,
) -> Outlook:
    """Return the outlook of an attribute, by a fit to half of the groups."""
    _, numbered = fullest(readings.answers).groups.unique(return_inverse=True)
    groups = fullest(readings.answers).groups[numbered % 2 == 0]
    some = [one.where(torch.isin(one.groups, groups)) for one in readings.answers]
    half = adapt_attribute(replace(readings, answers=some), fold_of, calibration, attribute)
    accuracy, at_half = effect.after["accuracy"] or 0.0, half.after["accuracy"] or 0.0
    return Outlook.of(int(effect.after["rows"] or 0), accuracy, at_half)


def _tell_shortage(targets: np.ndarray, answers: Answers | None) -> str | None:
    given = (targets != UNLABELLED).sum()
    if given < FEWEST_LABELS:
        return f"{given} labels are fewer than {FEWEST_LABELS}"
    if answers is None or len(answers) < FEWEST_LABELS:
        return f"fewer than {FEWEST_LABELS} of its {given} labelled products can be read"
    return None


def adapt_attribute(
    readings: Readings, fold_of: Int[Tensor, " N"], calibration: Calibration, attribute: str
) -> Effect:
    """Fit an attribute's modality bias, correction and calibration.

    Temperatures and thresholds are fitted first, then another modality bias and a correction are
    tried beside them. Each has to be better than the checkpoint as it is, and better than the best
    fit without it. Otherwise a correction would be taken for any classifier that is too sure, which
    a temperature mends with far fewer numbers. If nothing is surely better, but the labels refute
    the thresholds, temperatures and thresholds alone are fitted. Then less is answered until more
    labels prove more. If the labels confirm the thresholds, all stays, and the attribute counts as
    fitted to this source.
    """
    base = calibration.attributes[attribute]
    earlier = calibration.corrections.get(attribute)
    as_it_is = leave(readings.answers, base, earlier)

    def is_better(trial: Trial, than: Trial) -> bool:
        return trial.compare(as_it_is).is_better and trial.compare(than).is_better

    scoring = leave_scores(readings, earlier)
    best = recalibrated = calibrate_held_out(scoring, fold_of, base)
    weighed = weigh_anew(readings, fold_of, base, earlier)
    if weighed.bias_shift:
        trial = calibrate_held_out(weighed, fold_of, base)
        if is_better(trial, best):
            scoring, best = weighed, trial
    corrected = with_correction(scoring, fold_of, base, is_added=readings.is_added)
    trial = calibrate_held_out(corrected, fold_of, base)
    effect = (trial if is_better(trial, best) else best).compare(as_it_is)
    if effect.is_better:
        return effect
    if as_it_is.is_confirmed():
        return replace(as_it_is.compare(as_it_is), is_confirmed=True)
    if as_it_is.keeps_promise():
        return effect
    return replace(recalibrated.compare(as_it_is), is_needed=True)
