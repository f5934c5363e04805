"""Fits trust, corrections, temperatures and thresholds to a shop, and tells what they are worth.

Every figure is cross-validated: a product is answered by what was fitted to products that are not
near-identical to it, with a prior whose strength was chosen on those as well.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from enrich.adaptation.calibrating import calibrate_held_out, leave
from enrich.adaptation.effect import Effect
from enrich.adaptation.readings import Readings, fullest, take_readings
from enrich.adaptation.scores import deal_folds, leave_scores, weigh_anew, with_correction
from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.trial import FEWEST_LABELS, Trial
from enrich.calibration import Calibration
from enrich.engine import Engine
from enrich.progress import watch


def adapt(engine: Engine, labels: ShopLabels) -> dict[str, Effect]:
    """Returns what adaptation does to each attribute that enough products are labelled with."""
    fold_of = deal_folds(torch.from_numpy(labels.groups))
    enough = [
        (attribute, readings)
        for attribute, readings in take_readings(engine, labels).items()
        if len(fullest(readings.answers)) >= FEWEST_LABELS
    ]
    return {
        attribute: adapt_attribute(readings, fold_of, engine.calibration, attribute)
        for attribute, readings in watch(enough, "fitting", len(enough))
    }


def adapt_attribute(
    readings: Readings, fold_of: Int[Tensor, " N"], calibration: Calibration, attribute: str
) -> Effect:
    """Returns the attribute's trust, correction and new calibration, and what they change.

    First come new temperatures and thresholds alone. Beside them another trust in pictures is
    tried, and then a correction of the scores. Each has to be better than the checkpoint as it is,
    and better than the best without it. Else a correction would be taken for any classifier that is
    too sure of itself: it gains much there, but only by lowering the confidence, which a
    temperature does with far fewer numbers.

    Args:
        readings: Of at least `FEWEST_LABELS` products.
        fold_of: The fold of every labelled product; near-identical ones are in one.
        calibration: The checkpoint's own.
        attribute: Which one it is.
    """
    base = calibration.attributes[attribute]
    earlier = calibration.corrections.get(attribute)
    as_it_is = leave(readings.answers, base, earlier)

    def is_better(trial: Trial, than: Trial) -> bool:
        return trial.compare(as_it_is).is_better and trial.compare(than).is_better

    scoring = leave_scores(readings, earlier)
    best = calibrate_held_out(scoring, fold_of, base)
    weighed = weigh_anew(readings, fold_of, base, earlier)
    if weighed.trust_shift:
        trial = calibrate_held_out(weighed, fold_of, base)
        if is_better(trial, best):
            scoring, best = weighed, trial
    trial = calibrate_held_out(with_correction(scoring, fold_of, base), fold_of, base)
    return (trial if is_better(trial, best) else best).compare(as_it_is)
