"""Fits corrections, temperatures and thresholds to a shop, and tells what they are worth there.

Every figure is cross-validated: a product is answered by what was fitted to products that are not
near-identical to it, with a prior whose strength was chosen on those as well.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from enrich.adaptation.effect import Effect
from enrich.adaptation.fitting import Labelled, choose_strength, fit_layer
from enrich.adaptation.readings import Readings, fullest, take_readings
from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.trial import FEWEST_LABELS, Trial
from enrich.adaptation.trusting import choose_shift
from enrich.calibration import (
    TARGET_PRECISIONS,
    CalibratedModalities,
    CalibratedSets,
    Calibration,
    Matrix,
    ScoreCorrection,
)
from enrich.classifiers.calibrated import Layer, to_layer
from enrich.engine import Engine
from enrich.records import Modalities
from enrich.training.answers import Answers, CalibratedAnswers
from enrich.training.calibration import fit_temperatures, pick_threshold, strictest
from enrich.training.progress import watch

_FOLDS = 5


def adapt(engine: Engine, labels: ShopLabels) -> dict[str, Effect]:
    """Returns what adaptation does to each attribute that enough products are labelled with."""
    fold_of = _deal_folds(torch.from_numpy(labels.groups))
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

    New temperatures and thresholds alone are the rule. Another trust in pictures beside them, and a
    correction of the scores, each has to be better than the checkpoint as it is and better than
    what there is without it: over a classifier that is too sure of itself a correction gains much,
    but only because it lowers the confidence too, and with many more numbers than a temperature.

    Args:
        readings: Of at least `FEWEST_LABELS` products.
        fold_of: The fold of every labelled product; near-identical ones are in one.
        calibration: The checkpoint's own.
        attribute: Which one it is.
    """
    base = calibration.attributes[attribute]
    earlier = calibration.corrections.get(attribute)
    as_it_is = _leave(readings.answers, base, earlier)
    scores = _Scores(0.0, earlier, [readings.answers] * _FOLDS)
    best = _try(scores, fold_of, base, as_it_is)
    weighed = _weigh_anew(readings, fold_of, base, earlier)
    trial = _try(weighed, fold_of, base, as_it_is)
    if trial.compare(as_it_is).is_better and trial.compare(best).is_better:
        scores, best = weighed, trial
    corrected = _correct(scores, readings.at(scores.trust), fold_of, base)
    trial = _try(corrected, fold_of, base, as_it_is)
    if trial.compare(as_it_is).is_better and trial.compare(best).is_better:
        best = trial
    return best.compare(as_it_is)


@dataclass(frozen=True, slots=True)
class _Scores:
    """A way to score the labelled products, before temperatures.

    `trust` is by how much more it trusts pictures, `correction` that of its scores. `without` are
    for each fold the answers to all products, scored by a trust that has not seen that fold's
    labels and a correction that has not seen the product's own either: temperatures for the fold
    are fitted to them.
    """

    trust: float
    correction: ScoreCorrection | None
    without: list[list[Answers]]

    def held_out(self, fold_of: Int[Tensor, " N"]) -> list[Answers]:
        """Returns the answers, each product's scored by what has not seen its fold."""
        return [_pick(by_fold, fold_of) for by_fold in zip(*self.without, strict=True)]


def _pick(by_fold: Sequence[Answers], fold_of: Int[Tensor, " N"]) -> Answers:
    """Returns every row as the answers of its product's fold have it."""
    first, *others = by_fold
    logits, weight = first.logits, first.image_weight
    for fold, one in enumerate(others, start=1):
        here = fold_of[one.product] == fold
        logits = torch.where(here.unsqueeze(1), one.logits, logits)
        if weight is not None and one.image_weight is not None:
            weight = torch.where(here, one.image_weight, weight)
    return replace(first, logits=logits, image_weight=weight)


def _leave(readings: list[Answers], base: CalibratedSets, earlier: ScoreCorrection | None) -> Trial:
    """Returns how the checkpoint answers as it is."""
    return Trial(
        trust=0.0,
        correction=earlier,
        calibrated=base,
        fully=CalibratedAnswers.by(fullest(readings), base),
        partly=[CalibratedAnswers.by(reading, base) for reading in readings],
    )


def _weigh_anew(
    readings: Readings,
    fold_of: Int[Tensor, " N"],
    base: CalibratedSets,
    earlier: ScoreCorrection | None,
) -> _Scores:
    """Returns the scores under a trust in pictures of the shop's own."""
    return _Scores(
        trust=choose_shift(readings, fold_of >= 0, base),
        correction=earlier,
        without=[
            readings.at(choose_shift(readings, fold_of != fold, base)) for fold in range(_FOLDS)
        ],
    )


def _correct(
    scores: _Scores, answers: list[Answers], fold_of: Int[Tensor, " N"], base: CalibratedSets
) -> _Scores:
    """Returns the scores that correction layers make of these.

    Args:
        scores: Without another correction than the checkpoint's own.
        answers: Scored with all labels.
        fold_of: The fold of every labelled product.
        base: The checkpoint's temperatures.
    """
    whole = _label(answers, base)
    layer = fit_layer(whole, choose_strength(whole, _deal_folds(fullest(answers).groups)))
    return _Scores(
        trust=scores.trust,
        correction=_compose(layer, scores.correction),
        without=[
            _correct_without(fold, answers, fold_of, base)
            for fold, answers in enumerate(scores.without)
        ],
    )


def _label(answers: list[Answers], base: CalibratedSets) -> Labelled:
    """Returns the products as a layer is fitted to them."""
    whole = fullest(answers)
    return Labelled(whole.logits, whole.embeds, whole.targets, whole.log_temperature(base))


def _correct_without(
    fold: int, answers: list[Answers], fold_of: Int[Tensor, " N"], base: CalibratedSets
) -> list[Answers]:
    """Returns the answers corrected by layers that have seen no label of the fold."""
    groups, folds = fullest(answers).groups, fold_of[fullest(answers).product]
    layers = _fit_without(fold, _label(answers, base), folds, groups)
    return [_correct_held_out(one, layers, fold_of) for one in answers]


def _try(
    scores: _Scores, fold_of: Int[Tensor, " N"], base: CalibratedSets, as_it_is: Trial
) -> Trial:
    """Returns how these scores answer; modalities that are worse for it keep their temperature."""
    trial = _calibrate_held_out(scores, fold_of, base)
    if worse := trial.compare(as_it_is).worse_from:
        trial = _calibrate_held_out(scores, fold_of, base, kept=worse)
    return trial


def _calibrate_held_out(
    scores: _Scores,
    fold_of: Int[Tensor, " N"],
    base: CalibratedSets,
    kept: Collection[Modalities] = (),
) -> Trial:
    """Returns how temperatures and thresholds on these scores answer.

    Those of `kept`, and of modalities that few products have, are the checkpoint's own.
    """
    readings = scores.held_out(fold_of)
    common = [
        len(reading) >= FEWEST_LABELS and modalities not in kept
        for modalities, reading in zip(Modalities, readings, strict=True)
    ]
    fully, *partly = answered = [_unanswered(one) for one in (fullest(readings), *readings)]
    for fold, scored in enumerate(scores.without):
        others = [one.where(fold_of[one.product] != fold) for one in scored]
        calibrated = _calibrate(others, base, common)
        for one, held_out in zip(answered, (fullest(scored), *scored), strict=True):
            here = fold_of[held_out.product] == fold
            found = CalibratedAnswers.by(held_out.where(here), calibrated)
            one.probs[here] = found.probs
            for precision, thresholds in found.thresholds.items():
                one.thresholds[precision][here] = thresholds
    return Trial(
        trust=scores.trust,
        correction=scores.correction,
        calibrated=_calibrate(readings, base, common),
        fully=fully,
        partly=partly,
    )


def _unanswered(answers: Answers) -> CalibratedAnswers:
    """Returns room for the calibrated answers of every fold."""
    thresholds = {precision: torch.empty(len(answers)) for precision in TARGET_PRECISIONS}
    return CalibratedAnswers(answers, torch.empty_like(answers.logits), thresholds)


def _deal_folds(groups: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Returns the fold of each member of a group; all of a group are in one."""
    known, numbered = groups.unique(return_inverse=True)
    return torch.from_numpy(np.random.default_rng(0).permutation(len(known)))[numbered] % _FOLDS


def _fit_without(
    fold: int, labelled: Labelled, folds: Int[Tensor, " M"], groups: Int[Tensor, " M"]
) -> list[Layer]:
    """Returns for each fold a layer that has seen neither its labels nor those of `fold`."""
    left = folds != fold
    strength = choose_strength(labelled[left], _deal_folds(groups[left]))
    return [fit_layer(labelled[left & (folds != other)], strength) for other in range(_FOLDS)]


def _correct_held_out(reading: Answers, layers: list[Layer], fold_of: Int[Tensor, " N"]) -> Answers:
    """Returns the reading with each product corrected by the layer that has not seen it."""
    logits = reading.logits.clone()
    for fold, layer in enumerate(layers):
        here = fold_of[reading.product] == fold
        logits[here] = layer(reading.logits[here], reading.embeds[here])
    return replace(reading, logits=logits)


def _calibrate(
    corrected: list[Answers], base: CalibratedSets, common: list[bool]
) -> CalibratedSets:
    """Returns temperatures and thresholds fitted to corrected logits.

    A set of modalities that is not common keeps its temperature, and of its own thresholds and
    those of all products the higher ones: how it does in this shop is not known well enough.
    """
    calibrated = {
        modalities: _fit_temperatures(reading, base[modalities]) if is_common else base[modalities]
        for modalities, reading, is_common in zip(Modalities, corrected, common, strict=True)
    }
    whole = fullest(corrected)
    for modalities, reading, is_common in zip(Modalities, corrected, common, strict=True):
        own = base[modalities].thresholds
        found = _pick_thresholds(reading if is_common else whole, calibrated, own)
        if not is_common:
            found = {name: strictest([own[name], found[name]]) for name in own}
        calibrated[modalities] = calibrated[modalities].model_copy(update={"thresholds": found})
    return calibrated


def _fit_temperatures(reading: Answers, own: CalibratedModalities) -> CalibratedModalities:
    temperature, image_temperature = fit_temperatures([reading.score()], near=own)
    fitted = {"temperature": temperature, "image_temperature": image_temperature}
    return own.model_copy(update=fitted | {"rows": len(reading)})


def _pick_thresholds(
    reading: Answers, calibrated: CalibratedSets, before: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Returns the thresholds that the reading's answers ask for, or those of before.

    A few dozen labels hold too few right answers for the bound on the precision. Where they give no
    threshold, the earlier one, which rests on thousands of rows, stays if its precision holds here.
    """
    confidence, best = CalibratedAnswers.by(reading, calibrated).probs.max(1)
    is_right = best == reading.targets
    _, numbered, sizes = reading.groups.unique(return_inverse=True, return_counts=True)
    evidence = 1 / sizes.double()[numbered]
    found = {}
    for name, own in before.items():
        found[name] = pick_threshold(confidence, is_right, float(name), evidence)
        if found[name] is None and own is not None:
            answered = is_right[confidence >= own].double()
            if len(answered) and answered.mean() >= float(name):
                found[name] = own
    return found


def _compose(layer: Layer, before: ScoreCorrection | None) -> ScoreCorrection:
    """Returns the correction of raw logits, which an earlier one may have gone before."""
    weight, embeds_weight, bias = layer.weight, layer.embeds_weight, layer.bias
    if earlier := to_layer(before):
        bias = bias + weight @ earlier.bias
        if earlier.embeds_weight is not None:
            seen = weight @ earlier.embeds_weight
            embeds_weight = seen if embeds_weight is None else seen + embeds_weight
        weight = weight @ earlier.weight
    return ScoreCorrection(
        weight=_to_rows(weight),
        embeds_weight=None if embeds_weight is None else _to_rows(embeds_weight),
        bias=tuple(bias.tolist()),
    )


def _to_rows(matrix: Float[Tensor, "M N"]) -> Matrix:
    """Returns the rows as numbers; six digits, as there are thousands of them to be read."""
    return tuple(tuple(float(f"{number:.6g}") for number in row) for row in matrix.tolist())
