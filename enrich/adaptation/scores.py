"""Ways to score labelled products: as they are, with another modality bias, with a correction.

The products of a fold are scored by what was fitted without their labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.adaptation.fitting import Labelled, choose_strength, fit_layer
from enrich.adaptation.readings import Readings, fullest
from enrich.adaptation.trial import summed_loss
from enrich.calibration import CalibratedSets, Matrix, ScoreCorrection
from enrich.classifiers.calibrated import Layer, to_layer
from enrich.training.answers import Answers

# The standard deviation of the normal prior on the shift. A shift of 3 multiplies the odds of the
# picture's weight by 20.
_SPREAD = 3.0


def choose_shift(readings: Readings, seen: Bool[Tensor, " N"], calibrated: CalibratedSets) -> float:
    """Returns the shift of the modality bias that makes the labels, with the prior, likeliest.

    Args:
        readings: Of one attribute.
        seen: Which of all labelled products count.
        calibrated: The checkpoint's temperatures.
    """

    def penalised_loss(shift: float) -> float:
        both = readings.at(shift)[0]
        both = both.where(seen[both.product])
        loss = summed_loss(both.logits, both.log_temperature(calibrated), both.targets)
        return loss.item() + (shift / _SPREAD) ** 2 / 2

    # 0 first: of equals it is chosen.
    return min((0.0, *readings.weighed), key=penalised_loss)


FOLDS = 5
# How much a product read from its picture or its text alone counts beside one read from both, where
# an attribute has no head that has learnt to do without either.
_APART = 0.3


@dataclass(frozen=True, slots=True)
class Scoring:
    """A way to score the labelled products, before temperatures.

    `bias_shift` is what it adds to the modality bias, and `answers` are the answers with that
    bias, before a correction is fitted. `correction` is the one of the raw scores, fitted or not.

    `without` holds for each fold the answers to all products as they are scored without that fold's
    labels: temperatures for the fold are fitted to them. Their bias has not seen these labels, nor
    has their correction, which has not seen the label of the product itself either.
    """

    bias_shift: float
    correction: ScoreCorrection | None
    answers: list[Answers]
    without: list[list[Answers]]

    def held_out(self, fold_of: Int[Tensor, " N"]) -> list[Answers]:
        """Returns the answers, each product scored without the labels of its fold."""
        return [_pick(by_fold, fold_of) for by_fold in zip(*self.without, strict=True)]


def _pick(by_fold: Sequence[Answers], fold_of: Int[Tensor, " N"]) -> Answers:
    """Returns the answers with each product's row taken from the answers of its own fold."""
    first, *others = by_fold
    logits, weight = first.logits, first.image_weight
    for fold, one in enumerate(others, start=1):
        here = fold_of[one.product] == fold
        logits = torch.where(here.unsqueeze(1), one.logits, logits)
        if weight is not None and one.image_weight is not None:
            weight = torch.where(here, one.image_weight, weight)
    return replace(first, logits=logits, image_weight=weight)


def deal_folds(groups: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Returns the fold of each row; all rows of a group are in the same one."""
    known, numbered = groups.unique(return_inverse=True)
    return torch.from_numpy(np.random.default_rng(0).permutation(len(known)))[numbered] % FOLDS


def leave_scores(readings: Readings, earlier: ScoreCorrection | None) -> Scoring:
    """Returns the scoring of the checkpoint as it is."""
    return Scoring(0.0, earlier, readings.answers, [readings.answers] * FOLDS)


def weigh_anew(
    readings: Readings,
    fold_of: Int[Tensor, " N"],
    base: CalibratedSets,
    earlier: ScoreCorrection | None,
) -> Scoring:
    """Returns the scoring with a modality bias that is fitted to the source."""
    shift = choose_shift(readings, fold_of >= 0, base)
    return Scoring(
        bias_shift=shift,
        correction=earlier,
        answers=readings.at(shift),
        without=[
            readings.at(choose_shift(readings, fold_of != fold, base)) for fold in range(FOLDS)
        ],
    )


def with_correction(
    scoring: Scoring, fold_of: Int[Tensor, " N"], base: CalibratedSets, *, is_added: bool
) -> Scoring:
    """Returns the scoring with correction layers fitted to it; none has been fitted yet.

    With `is_added` the attribute has no head: then products count as read from one modality too.
    """
    rows = _to_rows_to_fit(scoring.answers, base, is_added)
    layer = fit_layer(rows.labelled, choose_strength(rows.labelled, deal_folds(rows.groups)))
    return replace(
        scoring,
        correction=compose(layer, scoring.correction),
        without=[
            _correct_without(fold, answers, fold_of, _to_rows_to_fit(answers, base, is_added))
            for fold, answers in enumerate(scoring.without)
        ],
    )


class _RowsToFit(NamedTuple):
    """The rows that a layer is fitted to, with the number of each one's product and group."""

    labelled: Labelled
    product: Int[Tensor, " M"]
    groups: Int[Tensor, " M"]


def _to_rows_to_fit(answers: list[Answers], base: CalibratedSets, is_added: bool) -> _RowsToFit:
    whole = fullest(answers)
    parts = [whole]
    if is_added:
        both, *alone = answers
        parts += [one.where(torch.isin(one.product, both.product)) for one in alone]
    labelled = [
        Labelled(
            one.logits,
            one.embeds,
            one.named,
            one.targets,
            one.log_temperature(base),
            torch.full((len(one),), 1.0 if one is whole else _APART),
        )
        for one in parts
    ]
    return _RowsToFit(
        Labelled.join(labelled),
        torch.cat([one.product for one in parts]),
        torch.cat([one.groups for one in parts]),
    )


def _correct_without(
    fold: int, answers: list[Answers], fold_of: Int[Tensor, " N"], rows: _RowsToFit
) -> list[Answers]:
    """Returns the answers corrected by layers that have seen no label of this fold."""
    layers = _fit_without(fold, rows.labelled, fold_of[rows.product], rows.groups)
    return [_correct_held_out(one, layers, fold_of) for one in answers]


def _fit_without(
    fold: int, labelled: Labelled, folds: Int[Tensor, " M"], groups: Int[Tensor, " M"]
) -> list[Layer]:
    """Returns one layer for each fold, which has seen neither its labels nor those of `fold`."""
    left = folds != fold
    strength = choose_strength(labelled[left], deal_folds(groups[left]))
    return [fit_layer(labelled[left & (folds != other)], strength) for other in range(FOLDS)]


def _correct_held_out(reading: Answers, layers: list[Layer], fold_of: Int[Tensor, " N"]) -> Answers:
    """Returns the reading with each product corrected by the layer that has not seen it."""
    logits = reading.logits.clone()
    for fold, layer in enumerate(layers):
        here = fold_of[reading.product] == fold
        logits[here] = layer(reading.logits[here], reading.embeds[here], reading.named[here])
    return replace(reading, logits=logits)


def compose(layer: Layer, before: ScoreCorrection | None) -> ScoreCorrection:
    """Returns one correction that does what `before` and then `layer` do to raw logits."""
    weight, embeds_weight, bias = layer.weight, layer.embeds_weight, layer.bias
    if earlier := to_layer(before):
        bias = bias + weight @ earlier.bias
        if earlier.embeds_weight is not None:
            seen = weight @ earlier.embeds_weight
            embeds_weight = seen if embeds_weight is None else seen + embeds_weight
        weight = weight @ earlier.weight
        assert not earlier.named_weight, "one number cannot say what a mixture makes of it"
    return ScoreCorrection(
        weight=_to_rows(weight),
        embeds_weight=None if embeds_weight is None else _to_rows(embeds_weight),
        named_weight=layer.named_weight,
        bias=tuple(bias.tolist()),
    )


def _to_rows(matrix: Float[Tensor, "M N"]) -> Matrix:
    """Returns the rows as numbers, rounded to six digits: a JSON file holds thousands of them."""
    return tuple(tuple(float(f"{number:.6g}") for number in row) for row in matrix.tolist())
