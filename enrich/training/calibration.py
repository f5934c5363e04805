"""Fits temperatures and abstention thresholds to labelled rows that training did not see.

Temperature scaling is Guo et al. 2017 (arXiv 1706.04599), but for what is minimised: the log loss
of the one confidence that is published, for its answer being right or wrong, instead of the label's
negative log-likelihood. A threshold is the lowest confidence at which a lower bound on the
precision still holds. Knows nothing of classifiers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.calibration import TARGET_PRECISIONS, CalibratedModalities
from enrich.classifiers.calibrated import at_temperatures, log_temperatures
from enrich.training.measures import last_of_ties

# One-sided 90 %: thresholds rest on a few hundred to a few thousand validation rows.
_WILSON_Z = 1.2816
# By how much a condition that is not guarded (see `guarded`) may miss the target precision. Without
# it, chance would decide whether its few rows reach the target, and with it how high the threshold
# of all conditions is.
_SLACK = 0.02
# Of how many of its rows such a condition must answer for its threshold to count. A few dozen lucky
# ones would else take most answers from all other conditions.
_LEAST_ANSWERED = 0.1
# An answer that is more likely wrong than right is not given, even if the surer answers are so good
# that the precision of all would still hold.
_LEAST_CONFIDENCE = 0.5
# A wrong answer of confidence 1 would have no finite loss.
_SUREST = 1 - 1e-6
# The range of the logarithm of a temperature, and where in it the search for the best one looks.
_LOWEST, _HIGHEST, _TRIED = math.log(0.05), math.log(20), 61
# How far a row read from its picture may be from one read from its text, as the standard deviation
# of the difference of their log temperatures: a hundred rows hardly tell them apart, thousands do.
_PRIOR_SPREAD = 0.5
# How far a shop's temperature may be from the checkpoint's, as the standard deviation of their log
# ratio. Without it, a few dozen products that are all answered right would leave no doubt at all.
_NEAR_SPREAD = 0.3


@dataclass(frozen=True, slots=True)
class LabelledLogits:
    """Labelled rows of one condition, with the logits that a classifier gives them.

    `image_weight` is the image's share in each answer, in [0, 1], None where nothing weighs it.
    `share` is how much a row counts beside a row of another condition when temperatures are fitted,
    in (0, 1].
    """

    logits: Float[Tensor, "N C"]
    targets: Int[Tensor, " N"]
    image_weight: Float[Tensor, " N"] | None = None
    share: float = 1.0

    @property
    def guarded(self) -> bool:
        """Whether the target precision must be reached under this condition.

        A rare condition (share < 1) may raise the threshold, but where hardly a row of it reaches
        the target it is ignored; and it is held to the target less `_SLACK`.
        """
        return self.share == 1


def fit(conditions: Sequence[LabelledLogits]) -> CalibratedModalities:
    """Returns temperatures fitted to all conditions together, and thresholds that hold under each.

    For each precision that is the strictest of the thresholds that the conditions ask for, see
    `guarded`.
    """
    calibrated = _without_thresholds(conditions)
    answered = []
    for condition in conditions:
        if len(condition.targets):
            every_row = [calibrated] * len(condition.targets)
            probs = at_temperatures(condition.logits, every_row, condition.image_weight)
            confidence, best = probs.max(1)
            answered.append((confidence, best == condition.targets, condition.guarded))
    thresholds = {
        name: strictest(_thresholds_asked_for(answered, float(name)))
        for name in calibrated.thresholds
    }
    return calibrated.model_copy(update={"thresholds": thresholds})


def _thresholds_asked_for(
    answered: Sequence[tuple[Tensor, Tensor, bool]], precision: float
) -> list[float | None]:
    """Returns them by confidence, whether it was right, and whether its condition is guarded."""
    asked: list[float | None] = []
    for confidence, is_right, guarded in answered:
        if guarded:
            asked.append(pick_threshold(confidence, is_right, precision))
            continue
        threshold = pick_threshold(confidence, is_right, precision - _SLACK)
        if threshold is not None and (confidence >= threshold).float().mean() >= _LEAST_ANSWERED:
            asked.append(threshold)
    return asked


def fitted_loss(conditions: Sequence[LabelledLogits]) -> float:
    """Returns the log loss of the answers, in nats, at temperatures fitted to them.

    It is summed over all rows, each weighted by its `share`.
    """
    calibrated = _without_thresholds(conditions)
    total = 0.0
    for condition in conditions:
        every_row = [calibrated] * len(condition.targets)
        temperatures = log_temperatures(every_row, condition.image_weight)
        losses = _answer_losses(condition.logits, temperatures, condition.targets)
        total += condition.share * losses.sum().item()
    return total


def _answer_losses(
    logits: Float[Tensor, "N C"], log_temperature: Float[Tensor, " N"], targets: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """Returns the log loss of each answer's confidence, in nats, for being right or wrong."""
    log_probs = (logits / log_temperature.exp().unsqueeze(1)).log_softmax(1)
    sure, best = log_probs.max(1)
    unsure = torch.log1p(-sure.exp().clamp(max=_SUREST))
    return -torch.where(best == targets, sure, unsure)


def _without_thresholds(conditions: Sequence[LabelledLogits]) -> CalibratedModalities:
    """Returns the temperatures that are fitted to all conditions; with None as every threshold."""
    temperature, image_temperature = fit_temperatures(conditions)
    return CalibratedModalities(
        temperature=temperature,
        image_temperature=image_temperature,
        thresholds={f"{precision:.2f}": None for precision in TARGET_PRECISIONS},
        rows=max(len(condition.targets) for condition in conditions),
    )


def fit_temperatures(
    conditions: Sequence[LabelledLogits], near: CalibratedModalities | None = None
) -> tuple[float, float | None]:
    """Returns the temperatures of rows that are read from their text and from their picture.

    Where no image weight is known, no row is labelled, or the temperature is at an end of its
    range, the first is that of all rows and the second is None. Without rows it is that of `near`,
    or 1.
    """
    if not any(len(condition.targets) for condition in conditions):
        return (near.temperature if near else 1.0), None
    rows = _Rows.of(conditions)
    weighed = rows.image_weight is not None
    # The loss may have several minima, and is flat beyond either end of the range: a search that
    # starts there has no slope to follow.
    tried = torch.linspace(_LOWEST, _HIGHEST, _TRIED, dtype=torch.double).unsqueeze(1)
    tried = tried.expand(-1, 1 + weighed)
    start = min(tried, key=lambda ends: _penalised_loss(ends, rows, near).item())
    if not tried[0, 0] < start[0] < tried[-1, 0]:
        return start[0].exp().item(), None
    ends = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([ends], max_iter=100, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = _penalised_loss(ends, rows, near)
        loss.backward()
        return loss

    optimiser.step(step)
    found = ends.detach().clamp(_LOWEST, _HIGHEST).exp().tolist()
    return found[0], found[1] if weighed else None


class _Rows(NamedTuple):
    """The rows of all conditions; without image weights where one of the conditions has none."""

    logits: Float[Tensor, "N C"]
    targets: Int[Tensor, " N"]
    share: Float[Tensor, " N"]
    image_weight: Float[Tensor, " N"] | None

    @classmethod
    def of(cls, conditions: Sequence[LabelledLogits]) -> "_Rows":
        weights = [one.image_weight for one in conditions if one.image_weight is not None]
        return cls(
            torch.cat([one.logits for one in conditions]).double(),
            torch.cat([one.targets for one in conditions]),
            torch.cat([torch.full((len(one.targets),), one.share) for one in conditions]).double(),
            torch.cat(weights).double() if len(weights) == len(conditions) else None,
        )


def _penalised_loss(
    ends: Float[Tensor, " E"], rows: _Rows, near: CalibratedModalities | None
) -> Float[Tensor, ""]:
    """Returns the log loss of the answers and of two normal priors, in nats for each row.

    One prior holds the temperatures of texts and of pictures together where few rows tell them
    apart, the other holds them to those of `near`. `ends` are their logarithms, or that of the only
    one. By row, so that an optimiser's tolerances mean the same for few rows as for many.
    """
    inner = ends.clamp(_LOWEST, _HIGHEST)
    weight = torch.zeros_like(rows.share) if rows.image_weight is None else rows.image_weight
    log_temperature = torch.lerp(inner[0], inner[-1], weight)
    losses = _answer_losses(rows.logits, log_temperature, rows.targets) * rows.share
    penalty = ((inner[0] - inner[-1]) / _PRIOR_SPREAD) ** 2 / 2
    if near is not None:
        centre = torch.tensor(_log_ends(near)[: len(ends)])
        penalty = penalty + ((inner - centre) / _NEAR_SPREAD).square().sum() / 2
    return (losses.sum() + penalty) / rows.share.sum()


def pick_threshold(
    confidence: Float[Tensor, " N"],
    is_right: Bool[Tensor, " N"],
    precision: float,
    evidence: Float[Tensor, " N"] | None = None,
) -> float | None:
    """Returns the lowest confidence, 0.5 at least, from which on precision is `precision` or more.

    What counts is the lower Wilson bound of the precision, so that a lucky handful of rows sets no
    threshold. `evidence` is how much each row counts among the rows that the bound rests on, in
    (0, 1]: a tenth for each of ten rows of one product in several colors. None: every row is a
    product of its own. The precision itself is the share of rows, as that is what is promised.
    """
    order = confidence.argsort(descending=True)
    sorted_confidence = confidence[order]
    each = torch.ones(len(order)) if evidence is None else evidence[order]
    share = is_right[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
    counts = each.double().cumsum(0)
    good = wilson_lower_bound(share * counts, counts) >= precision
    good &= sorted_confidence >= _LEAST_CONFIDENCE
    possible = (good & last_of_ties(sorted_confidence)).nonzero()
    return float(sorted_confidence[possible[-1]]) if len(possible) else None


def strictest(thresholds: Sequence[float | None]) -> float | None:
    """Returns the highest threshold; None, one that is never reached, is higher than all others."""
    reached = [threshold for threshold in thresholds if threshold is not None]
    return max(reached) if reached and len(reached) == len(thresholds) else None


def _log_ends(calibrated: CalibratedModalities) -> tuple[float, float]:
    image_end = calibrated.image_temperature or calibrated.temperature
    return math.log(calibrated.temperature), math.log(image_end)


def wilson_lower_bound(
    hits: Float[Tensor, "*N"], counts: Float[Tensor, "*N"]
) -> Float[Tensor, "*N"]:
    """Returns Wilson's lower bound of a share (1927), in [0, 1].

    In nine of ten samples the true share is above it.
    """
    share, z2 = hits / counts, _WILSON_Z**2
    spread = _WILSON_Z * (share * (1 - share) / counts + z2 / (4 * counts**2)).sqrt()
    return (share + z2 / (2 * counts) - spread) / (1 + z2 / counts)
