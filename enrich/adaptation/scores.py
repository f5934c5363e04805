"""Scorings of labelled products, by modality bias and correction layer.

The products of a fold are scored by fits without their labels. A correction layer is (I + D) logits
+ E embeds + w named + b. Without E that is matrix scaling (Guo et al. 2017, arXiv 1706.04599),
which learns a source's conventions, such as where beige ends. E reads the towers' embeddings anew,
as a linear probe (Alain and Bengio 2016, arXiv 1610.01644), and learns a source's own goods. For
seventeen labels and towers of width 192 these are 6,800 numbers, too many for a few hundred
labelled products. So a normal prior holds all of them towards 0. Cross-validation chooses its
strength, as in ODIR (Kull et al. 2019, arXiv 1910.12656), but with the diagonal of D too. The
weight w of labels that texts name is one number with a prior of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from enrich.adaptation.readings import Readings, fullest
from enrich.calibration import CalibratedSets, Matrix, ScoreCorrection
from enrich.classifiers.calibrated import Layer, to_layer
from enrich.records import Modalities
from enrich.training.answers import Answers
from enrich.training.calibration import minimise

# From no correction at all to hardly any penalty: of equals the first, the strongest, is chosen.
_STRENGTHS = (math.inf, 100.0, 30.0, 10.0, 3.0)
# What b and E weigh in the penalty; D weighs 1.
_SHIFT_COST = 0.3
_EMBEDS_COST = 10.0
# The prior of the weight of named labels is wide, whatever the strength: one number is told by few
# labels. On six attributes of a shop of fashion it was 0.4 to 5.
_NAMED_SPREAD = 3.0
# By how much a step of the fit must lower the mean loss, in nats.
_TOLERANCE = 1e-7
# Fewer folds than for answers: five tell the best strength as well.
_FOLDS_OF_STRENGTHS = 5
# How much a product read from its picture or its text alone counts beside one read from both, where
# an attribute has no head that has learnt to do without either.
_APART = 0.3


def fit_layer(labelled: Answers, base: CalibratedSets, strength: float) -> Layer:
    """Return the layer of least penalised negative log-likelihood, which is convex.

    `strength` is that of the prior, above 0; inf leaves the logits as they are. The temperatures of
    `base` make rows count by the checkpoint's uncertainty.
    """
    labels = labelled.logits.shape[1]
    # A constant added to all logits means nothing, so the layer must not see it.
    centre = torch.eye(labels) - 1 / labels
    if len(labelled) == 0 or math.isinf(strength):
        return Layer(centre, None, torch.zeros(labels))
    standard = _standardise(labelled.embeds)
    logits = labelled.logits @ centre
    read = torch.cat([logits, labelled.embeds @ standard, torch.ones(len(logits), 1)], dim=1)
    temperature, weight = _count_rows(labelled, base)
    costs = torch.full(read.shape[1:], _EMBEDS_COST)
    costs[:labels], costs[-1] = (logits / temperature).square().mean(), _SHIFT_COST
    named = labelled.named.float()
    is_label = F.one_hot(labelled.targets, labels)

    def loss_and_slope(fitted: Tensor) -> tuple[Tensor, Tensor]:
        weights, of_named = fitted[:-1].view(labels, -1), fitted[-1]
        log_probs = ((logits + read @ weights.T + of_named * named) / temperature).log_softmax(1)
        loss = -(weight * (is_label * log_probs).sum(1)).sum()
        penalty = strength * costs * weights
        prior = of_named / _NAMED_SPREAD**2
        slope = (log_probs.exp() - is_label) * weight.unsqueeze(1) / temperature
        slopes = [(slope.T @ read + penalty).flatten(), ((slope * named).sum() + prior).view(1)]
        total = loss + (penalty * weights).sum() / 2 + prior * of_named / 2
        return total / len(labelled), torch.cat(slopes) / len(labelled)

    start = torch.zeros(labels * read.shape[1] + 1)
    found = minimise(loss_and_slope, start, _TOLERANCE)
    mixture, look, shift = (
        found[:-1].view(labels, -1).split([labels, read.shape[1] - labels - 1, 1], dim=1)
    )
    return Layer(
        weight=centre + mixture @ centre,
        embeds_weight=look @ standard.T,
        bias=shift.squeeze(1),
        named_weight=found[-1].item(),
    )


def _count_rows(
    labelled: Answers, base: CalibratedSets
) -> tuple[Float[Tensor, "N 1"], Float[Tensor, " N"]]:
    """Return temperature and weight of each row."""
    is_whole = torch.tensor([one is Modalities.IMAGE_AND_TEXT for one in labelled.modalities])
    is_again = ~is_whole & torch.isin(labelled.product, labelled.product[is_whole])
    weight = torch.ones(len(labelled)).masked_fill(is_again, _APART)
    return labelled.log_temperature(base).exp().unsqueeze(1), weight


def _sum_losses(
    logits: Float[Tensor, "N C"],
    targets: Int[Tensor, " N"],
    temperature: Float[Tensor, "N 1"],
    weight: Float[Tensor, " N"],
) -> Float[Tensor, ""]:
    """Return the weighted, summed negative log-likelihood of the labels, in nats."""
    losses = F.cross_entropy(logits / temperature, targets, reduction="none")
    return (losses * weight).sum()


def _standardise(embeds: Float[Tensor, "N E"]) -> Float[Tensor, "E F"]:
    """Return the map to embeddings of mean 0 and mean square 1.

    The mean is subtracted by the column of ones of the modality. It is 0 in rows without the
    modality, whose embeddings stay 0.
    """
    blocks = []
    for of_modality in embeds.chunk(2, dim=1):
        values, has = of_modality[:, :-1], of_modality[:, -1:]
        rows, width = has.sum().clamp(min=1), values.shape[1]
        mean = values.sum(0) / rows
        spread = ((values - mean) * has).square().sum() / (rows * max(1, width))
        scale = spread.clamp(min=1e-12).rsqrt()
        blocks.append(torch.cat([torch.eye(width), -mean.unsqueeze(0)]) * scale)
    return torch.block_diag(*blocks)


def choose_strength(labelled: Answers, base: CalibratedSets) -> float:
    """Return the strength that predicts the rows of a fold best from all others."""
    folds = deal_folds(labelled.groups, _FOLDS_OF_STRENGTHS)
    losses = {one: _held_out_loss(labelled, base, folds, one) for one in _STRENGTHS}
    return min(losses, key=losses.__getitem__)


def _held_out_loss(
    labelled: Answers, base: CalibratedSets, folds: Int[Tensor, " N"], strength: float
) -> float:
    """Return the mean negative log-likelihood under layers of the other folds."""
    total = 0.0
    for fold in folds.unique():
        here = labelled.where(folds == fold)
        corrected = here.corrected(fit_layer(labelled.where(folds != fold), base, strength))
        total += _sum_losses(corrected.logits, here.targets, *_count_rows(here, base)).item()
    return total / max(1, len(labelled))


# The standard deviation of the normal prior on the shift. A shift of 3 multiplies the odds of the
# picture's weight by 20.
_SPREAD = 3.0


def choose_shift(readings: Readings, seen: Bool[Tensor, " N"], calibrated: CalibratedSets) -> float:
    """Return the likeliest shift of the modality bias, given labels and prior.

    Labelled products count where `seen` is True. Temperatures are the checkpoint's.
    """

    def penalised_loss(shift: float) -> float:
        both = readings.at(shift)[0]
        both = both.where(seen[both.product])
        scaled = both.logits / both.log_temperature(calibrated).exp().unsqueeze(1)
        loss = F.cross_entropy(scaled, both.targets, reduction="sum")
        return loss.item() + (shift / _SPREAD) ** 2 / 2

    # 0 first: of equals it is chosen.
    return min((0.0, *readings.weighed), key=penalised_loss)


# With five folds the thresholds of 200 labels answer 0.60 of other products, with ten 0.63 (four
# attributes of a shop of fashion).
FOLDS = 10


@dataclass(frozen=True, slots=True)
class Scoring:
    """A way to score the labelled products, before temperatures.

    `answers` are those at the shifted modality bias, before the `correction` is fitted. For each
    fold, `without` has answers to all products, scored without that fold's labels: the fold's
    temperatures are fitted to them. Their correction has not seen the label of the product itself
    either.
    """

    bias_shift: float
    correction: ScoreCorrection | None
    answers: list[Answers]
    without: list[list[Answers]]

    def held_out(self, fold_of: Int[Tensor, " N"]) -> list[Answers]:
        """Return the answers, each product scored without the labels of its fold."""
        return [_pick(by_fold, fold_of) for by_fold in zip(*self.without, strict=True)]


def _pick(by_fold: Sequence[Answers], fold_of: Int[Tensor, " N"]) -> Answers:
    """Return answers with each product's row taken from those of its own fold."""
    first, *others = by_fold
    logits, weight = first.logits, first.image_weight
    for fold, one in enumerate(others, start=1):
        here = fold_of[one.product] == fold
        logits = torch.where(here.unsqueeze(1), one.logits, logits)
        if weight is not None and one.image_weight is not None:
            weight = torch.where(here, one.image_weight, weight)
    return replace(first, logits=logits, image_weight=weight)


def deal_folds(groups: Int[Tensor, " N"], folds: int = FOLDS) -> Int[Tensor, " N"]:
    """Return the fold of each row; all rows of a group are in the same one."""
    known, numbered = groups.unique(return_inverse=True)
    return torch.from_numpy(np.random.default_rng(0).permutation(len(known)))[numbered] % folds


def leave_scores(readings: Readings, earlier: ScoreCorrection | None) -> Scoring:
    """Return the scoring of the checkpoint as it is."""
    return Scoring(0.0, earlier, readings.answers, [readings.answers] * FOLDS)


def weigh_anew(
    readings: Readings,
    fold_of: Int[Tensor, " N"],
    base: CalibratedSets,
    earlier: ScoreCorrection | None,
) -> Scoring:
    """Return the scoring with a modality bias that is fitted to the source."""
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
    """Return the scoring with the first correction layers fitted to it.

    `is_added` means an attribute without a head. Then products read from one modality count too.
    """
    rows = _to_fit(scoring.answers, is_added)
    layer = fit_layer(rows, base, choose_strength(rows, base))
    return replace(
        scoring,
        correction=compose(layer, scoring.correction),
        without=[
            _correct_without(fold, answers, fold_of, _to_fit(answers, is_added), base)
            for fold, answers in enumerate(scoring.without)
        ],
    )


def _to_fit(answers: list[Answers], is_added: bool) -> Answers:
    """Return the rows that a layer is fitted to."""
    parts = [fullest(answers)]
    if is_added:
        both, *alone = answers
        parts += [one.where(torch.isin(one.product, both.product)) for one in alone]
    return Answers.join(parts)


def _correct_without(
    fold: int,
    answers: list[Answers],
    fold_of: Int[Tensor, " N"],
    rows: Answers,
    base: CalibratedSets,
) -> list[Answers]:
    """Return the answers corrected by layers that have seen no label of this fold.

    Each other fold has a layer that has not seen its own labels either.
    """
    folds = fold_of[rows.product]
    strength = choose_strength(rows.where(folds != fold), base)
    layers = [
        fit_layer(rows.where((folds != fold) & (folds != other)), base, strength)
        for other in range(FOLDS)
    ]
    return [_correct_held_out(one, layers, fold_of) for one in answers]


def _correct_held_out(reading: Answers, layers: list[Layer], fold_of: Int[Tensor, " N"]) -> Answers:
    """Return the reading, each product corrected by a layer that has not seen it."""
    logits = reading.logits.clone()
    for fold, layer in enumerate(layers):
        here = fold_of[reading.product] == fold
        logits[here] = layer(reading.logits[here], reading.embeds[here], reading.named[here])
    return replace(reading, logits=logits)


def compose(layer: Layer, before: ScoreCorrection | None) -> ScoreCorrection:
    """Return one correction that does to raw logits what both do in turn."""
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
    """Return the rows rounded to six digits, because a JSON file has thousands."""
    return tuple(tuple(float(f"{number:.6g}") for number in row) for row in matrix.tolist())
