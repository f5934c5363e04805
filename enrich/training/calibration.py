"""Temperatures and abstention thresholds, fitted to rows unseen by training.

Temperature scaling is that of Guo et al. 2017 (arXiv 1706.04599) with another loss: the log loss of
the one confidence that is published, for its answer being right or wrong, instead of the negative
log-likelihood of the label. The precision of thresholds is proved on held-out answers by
fixed-sequence testing as in "Learn then Test" (Angelopoulos et al. 2021, arXiv 2110.01052), with
exact binomial tests.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import special, stats
from torch import Tensor

from enrich.calibration import TARGET_PRECISIONS, CalibratedModalities, EvidenceThresholds
from enrich.classifiers.calibrated import at_temperatures, log_temperatures
from enrich.lexicon import Evidence, weigh

# The chance that a threshold misses the precision that it is chosen for.
_DELTA = 0.1
# An answer that is more likely wrong than right is never given, even if the precision would hold.
_LEAST_CONFIDENCE = 0.5
# Of a sum of right answers: certain ones would have none.
_LEAST_VARIANCE = 1e-6
# Labels with few answers are not told from others; labels with many may miss the target precision
# by the slack.
_FEW, _MANY, _SLACK = 20, 200, 0.02


def pick_threshold(
    score: np.ndarray,
    is_right: np.ndarray,
    groups: np.ndarray,
    precision: float,
    confidence: np.ndarray | None = None,
) -> float | None:
    """Return the lowest threshold that holds the precision; None where unproved.

    Thresholds are tested from strict to loose until the first failure. The first one is where the
    confidences promise the surest pass: stricter ones have fewer rows, looser ones more doubt. Each
    next one is the strictest at which one more answer may be wrong. As only rightness is tested,
    the returned threshold misses the precision with a probability of 0.1 at most, whatever the
    confidences are.

    Args:
        score: (N,), order in which answers are given, such as their confidence; -inf for never.
        is_right: (N,), whether the answer is the label.
        groups: (N,), number of each row's group of near-identical products. One row of a group
            counts, as its rows are right or wrong together.
        precision: the share of right answers that is wanted, in (0, 1).
        confidence: (N,), in [0, 1]; None if the scores are the confidences. Answers below 0.5 are
            never given.
    """
    confidence = score if confidence is None else confidence
    _, first = np.unique(groups, return_index=True)
    first = first[(confidence[first] >= _LEAST_CONFIDENCE) & np.isfinite(score[first])]
    order = first[np.argsort(-score[first], kind="stable")]
    surest = score[order]
    # Answers of equal scores are given together or not at all.
    answered = np.flatnonzero(np.append(surest[1:] != surest[:-1], True)[: len(surest)]) + 1
    right, hoped = is_right[order].cumsum(), confidence[order].cumsum()
    # A test passes with so many wrong answers; with few answers, not even with none.
    allowed = answered - stats.binom.isf(_DELTA, answered, precision) - 1
    # Few tests, as each may end the sequence by chance. The loosest threshold is tested too.
    tested = np.flatnonzero(np.append(np.diff(allowed, prepend=-1)[:-1] > 0, allowed[-1:] >= 0))
    if not len(tested):
        return None
    answered, allowed = answered[tested], allowed[tested]
    right, hoped = right[answered - 1], hoped[answered - 1]
    needed = answered - allowed
    spread = np.sqrt(np.maximum(hoped * (1 - hoped / answered), _LEAST_VARIANCE))
    begin = int(np.argmax((hoped - needed) / spread))
    passed = np.logical_and.accumulate(right[begin:] >= needed[begin:]).sum()
    return float(surest[answered[begin + passed - 1] - 1]) if passed else None


def find_floors(
    confidence: np.ndarray,
    is_right: np.ndarray,
    best: np.ndarray,
    least: np.ndarray,
    groups: np.ndarray,
    labels: int,
    precision: float,
) -> tuple[float | None, ...]:
    """Return the floor of each label: the confidence from which on its answers hold.

    Answers hold if the precision is not refuted with 95 % confidence (Clopper and Pearson 1934),
    and if 200 answers or more come within 0.02 of it. A floor of 0 leaves all to the thresholds;
    None never answers the label.

    Args:
        confidence: (N,), in [0, 1].
        is_right: (N,), whether the answer is the label.
        best: (N,), the place of the answer's label.
        least: (N,), the threshold of each row; inf is never.
        groups: (N,), number of each row's group; one row of a group counts for a label.
        labels: how many labels there are.
        precision: the share of right answers that is wanted, in (0, 1).
    """
    floors: list[float | None] = []
    for label in range(labels):
        mine = np.flatnonzero((best == label) & (confidence >= least))
        mine = mine[np.unique(groups[mine], return_index=True)[1]]
        order = mine[np.argsort(-confidence[mine], kind="stable")]
        counts = np.arange(1, len(order) + 1)
        right = is_right[order].cumsum()
        highest = stats.beta.ppf(0.95, right + 1, np.maximum(counts - right, 1e-9))
        fits = (highest >= precision) & (
            (counts < _MANY) | (right >= (precision - _SLACK) * counts)
        )
        if len(order) < _FEW or fits[-1]:
            floors.append(0.0)
            continue
        good = np.flatnonzero(fits & (counts >= _FEW))
        floors.append(float(confidence[order[good[-1]]]) if len(good) else None)
    return tuple(floors)


def log_odds(confidence: np.ndarray | float) -> np.ndarray:
    """Return the log odds of confidences in [0, 1], finite also for 0 and 1."""
    return np.asarray(special.logit(np.clip(confidence, 1e-6, 1 - 1e-6)))


# Kinds of evidence that share a threshold. The titles of a source may all be silent, or may all
# contradict, so the precision must hold for these alone. Titles that name labels come mixed.
_TOGETHER = ((Evidence.SILENT,), (Evidence.CONTRADICTED,), (Evidence.NAMED, Evidence.SEVERAL))
# Kinds of evidence with fewer groups have the threshold of all. Contradicted answers are wrong more
# often than all others, so they are never given then.
_FEWEST = 60
# Share of rows of a rare condition, such as texts of other products, that count for thresholds.
_RARE = 0.1
# A wrong answer of confidence 1 would have no finite loss.
_SUREST = 1 - 1e-6
# Range of log temperatures, and points of the grid search.
_LOWEST, _HIGHEST, _TRIED = math.log(0.05), math.log(20), 61
# Prior of the temperatures of text and picture, as the standard deviation of the difference of
# their logarithms: a hundred rows hardly tell them apart, thousands do.
_PRIOR_SPREAD = 0.5
# Prior of a source's temperature around that of the checkpoint, as the standard deviation of their
# log ratio. Without it, a few dozen right answers would make all confidences 1.
_NEAR_SPREAD = 0.3


@dataclass(frozen=True, slots=True)
class LabelledLogits:
    """Labelled rows of one condition, with the logits of a classifier.

    Attributes:
        logits: scores before temperatures.
        targets: index of each row's label.
        image_weight: share of the image in each answer, in [0, 1]; None without weights.
        share: weight of a row beside rows of other conditions for temperatures, in (0, 1].
        named: labels that titles name; None if titles name no labels.
        groups: group of near-identical products; None if each row has its own.
    """

    logits: Float[Tensor, "N C"]
    targets: Int[Tensor, " N"]
    image_weight: Float[Tensor, " N"] | None = None
    share: float = 1.0
    named: Bool[Tensor, "N C"] | None = None
    groups: Int[Tensor, " N"] | None = None


def fit(conditions: Sequence[LabelledLogits]) -> CalibratedModalities:
    """Fit temperatures and thresholds to all conditions together.

    Thresholds are split by the evidence of the title for the answer. A tenth of the rows of a rare
    condition (`share` below 1) counts there, as up to a tenth of a source's texts may be those of
    other products.
    """
    calibrated = _without_thresholds(conditions)
    return calibrated.model_copy(update=_fit_thresholds(conditions, calibrated))


def _fit_thresholds(
    conditions: Sequence[LabelledLogits], calibrated: CalibratedModalities
) -> dict[str, object]:
    """Fit thresholds and floors to the rows of all conditions together."""
    # The first row of a group counts, so a tenth of the groups counts under a rare condition.
    rare_first = sorted(conditions, key=lambda one: one.share)
    parts = [_judge(one, calibrated) for one in rare_first if len(one.targets)]
    if not parts:
        return {}
    confidence, is_right, best, evidence, groups = map(np.concatenate, zip(*parts, strict=True))
    every, thresholds, floors = list(Evidence), {}, {}
    all_silent = bool((evidence == every.index(Evidence.SILENT)).all())
    for name in calibrated.thresholds:
        precision = float(name)
        found: EvidenceThresholds = {}
        for kinds in _TOGETHER:
            mine = np.isin(evidence, [every.index(kind) for kind in kinds])
            is_told = len(np.unique(groups[mine])) >= _FEWEST
            rows = mine if is_told else np.full(len(mine), True)
            threshold = pick_threshold(confidence[rows], is_right[rows], groups[rows], precision)
            is_never = Evidence.CONTRADICTED in kinds and not is_told and not all_silent
            found |= dict.fromkeys(kinds, None if is_never else threshold)
        least = np.array([np.inf if (t := found[kind]) is None else t for kind in Evidence])
        thresholds[name] = found
        labels = conditions[0].logits.shape[1]
        floors[name] = find_floors(
            confidence, is_right, best, least[evidence], groups, labels, precision
        )
    return {"thresholds": thresholds, "floors": floors}


def _judge(condition: LabelledLogits, calibrated: CalibratedModalities) -> tuple[np.ndarray, ...]:
    """Return confidence, rightness, best label, evidence and group of rows."""
    every_row = [calibrated] * len(condition.targets)
    probs = at_temperatures(condition.logits, every_row, condition.image_weight)
    highest, best = probs.max(1)
    named, groups = condition.named, condition.groups
    rows = (
        highest.numpy(),
        (best == condition.targets).numpy(),
        best.numpy(),
        weigh((torch.zeros_like(probs) if named is None else named).bool().numpy(), best.numpy()),
        (torch.arange(len(best)) if groups is None else groups).numpy(),
    )
    if condition.share == 1:
        return rows
    kept = np.random.default_rng(0).random(len(best)) < _RARE
    return tuple(column[kept] for column in rows)


def fitted_loss(conditions: Sequence[LabelledLogits]) -> float:
    """Return the log loss of answers at temperatures fitted to them, in nats.

    The loss is summed over all rows, weighted by `share`.
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
    """Return the log loss of each confidence for being right or wrong, in nats."""
    log_probs = (logits / log_temperature.exp().unsqueeze(1)).log_softmax(1)
    sure, best = log_probs.max(1)
    unsure = torch.log1p(-sure.exp().clamp(max=_SUREST))
    return -torch.where(best == targets, sure, unsure)


def _without_thresholds(conditions: Sequence[LabelledLogits]) -> CalibratedModalities:
    """Fit temperatures to all conditions; all thresholds are None."""
    temperature, image_temperature = fit_temperatures(conditions)
    return CalibratedModalities(
        temperature=temperature,
        image_temperature=image_temperature,
        thresholds={f"{p:.2f}": dict.fromkeys(Evidence) for p in TARGET_PRECISIONS},
        rows=max(len(condition.targets) for condition in conditions),
    )


def fit_temperatures(
    conditions: Sequence[LabelledLogits], near: CalibratedModalities | None = None
) -> tuple[float, float | None]:
    """Fit the temperatures of rows that are read from texts and from pictures.

    Without image weights or labelled rows, or at an end of the range, the first is the temperature
    of all rows and the second is None. Without rows it is that of `near`, or 1.
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

    def loss_and_slope(ends: Tensor) -> tuple[Tensor, Tensor]:
        loss = _penalised_loss(at := ends.detach().requires_grad_(), rows, near)
        (slope,) = torch.autograd.grad(loss, at)
        return loss.detach(), slope

    ends = minimise(loss_and_slope, start)
    found = ends.clamp(_LOWEST, _HIGHEST).exp().tolist()
    return found[0], found[1] if weighed else None


def minimise(
    loss_and_slope: Callable[[Tensor], tuple[Tensor, Tensor]],
    start: Float[Tensor, " P"],
    tolerance: float = 1e-9,
) -> Float[Tensor, " P"]:
    """Return the numbers of the least loss near `start`.

    The search (L-BFGS, Liu and Nocedal 1989) ends when a step lowers the loss by less than
    `tolerance`. It is torch's: scipy's has threads that wait for each other beside a busy process.
    """
    numbers = start.clone()
    optimiser = torch.optim.LBFGS(
        [numbers],
        max_iter=100,
        tolerance_change=tolerance,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def step() -> Tensor:
        loss, numbers.grad = loss_and_slope(numbers)
        return loss

    optimiser.step(step)
    return numbers


class _Rows(NamedTuple):
    """The rows of all conditions, with image weights if all conditions have them."""

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
    """Return the mean log loss of answers, with two normal priors, in nats.

    One prior holds the temperatures of texts and of pictures together, the other holds both to
    those of `near`. `ends` are the logarithms of the temperatures. The mean gives an optimiser's
    tolerances the same meaning for few and for many rows.
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


def _log_ends(calibrated: CalibratedModalities) -> tuple[float, float]:
    image_end = calibrated.image_temperature or calibrated.temperature
    return math.log(calibrated.temperature), math.log(image_end)
