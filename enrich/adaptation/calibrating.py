"""Fits temperatures and thresholds to scores of a shop's labelled products, and tries them out.

The products of a fold are answered by what was fitted without their labels. Knows nothing of how
the scores came about.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from enrich.adaptation.readings import fullest
from enrich.adaptation.scores import Scoring
from enrich.adaptation.trial import FEWEST_LABELS, Trial, measure_losses
from enrich.calibration import (
    TARGET_PRECISIONS,
    CalibratedModalities,
    CalibratedSets,
    EvidenceThresholds,
    ScoreCorrection,
    shift_threshold,
)
from enrich.lexicon import Evidence, weigh
from enrich.records import Modalities
from enrich.training.answers import Answers, CalibratedAnswers
from enrich.training.calibration import fit_temperatures
from enrich.training.thresholds import log_odds, pick_threshold

# By how much the summed loss must fall, in nats, for a new temperature to be more than chance: by
# Akaike's criterion, which asks for 1 for each fitted number.
_LEAST_FALL = 1.0


def leave(readings: list[Answers], base: CalibratedSets, earlier: ScoreCorrection | None) -> Trial:
    """Returns how the checkpoint answers as it is, with the correction that it may bring along."""
    return Trial(
        bias_shift=0.0,
        correction=earlier,
        calibrated=base,
        fully=CalibratedAnswers.by(fullest(readings), base),
        partly=[CalibratedAnswers.by(reading, base) for reading in readings],
    )


def calibrate_held_out(scoring: Scoring, fold_of: Int[Tensor, " N"], base: CalibratedSets) -> Trial:
    """Returns temperatures and thresholds fitted to these scores, and how they answer held out."""
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
    """Returns calibrated answers that are still to be filled in, fold by fold."""
    thresholds = {precision: torch.empty(len(answers)) for precision in TARGET_PRECISIONS}
    return CalibratedAnswers(answers, torch.empty_like(answers.logits), thresholds)


def _calibrate(
    corrected: list[Answers], base: CalibratedSets, common: list[bool]
) -> CalibratedSets:
    """Returns temperatures and thresholds fitted to corrected logits.

    A set of modalities that is not `common`, because few products have it, keeps its temperature:
    how it does in this shop is not known. Its thresholds are its own or those fitted to all
    products, whichever are higher.
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
    """Returns new temperatures if they are better by more than chance, else the checkpoint's."""
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
    """Return the thresholds whose precision these answers prove; None where they prove none.

    All thresholds of before move by the same log odds: so few labels cannot tell the kinds of
    evidence apart, and those of before rest on thousands of rows. Where before none was reached,
    all are the same.
    """
    answers = CalibratedAnswers.by(reading, calibrated)
    highest, best = answers.probs.max(1)
    confidence, is_right = highest.numpy(), (best == reading.targets).numpy()
    evidence = weigh(reading.named.numpy(), best.numpy())
    picked = {}
    for name, own in before.items():
        if all(one is None for one in own.values()):
            own = dict.fromkeys(Evidence, 0.5)
        # Of a kind that was never answered nothing is answered here.
        each = [own[kind] for kind in Evidence]
        least = np.array([np.inf if one is None else float(log_odds(one)) for one in each])
        score = log_odds(confidence) - least[evidence]
        shift = pick_threshold(score, is_right, reading.groups.numpy(), float(name), confidence)
        picked[name] = {
            kind: None if shift is None or least is None else shift_threshold(least, shift)
            for kind, least in own.items()
        }
    return picked


def _strictest(one: EvidenceThresholds, other: EvidenceThresholds) -> EvidenceThresholds:
    """Return the higher of two thresholds of each kind; None, never, is higher than all others."""
    found: EvidenceThresholds = {}
    for kind in Evidence:
        first, second = one[kind], other[kind]
        found[kind] = None if first is None or second is None else max(first, second)
    return found
