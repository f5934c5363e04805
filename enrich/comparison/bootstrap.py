"""Bootstrap intervals: how far a figure would move with other products of the same kind.

Whole groups are drawn with replacement, never single rows: the near-identical products of a group
say the same thing again (Field and Welsh 2007, the cluster bootstrap). All classifiers share the
draws, so that the difference of two is taken on the same products. Knows nothing of classifiers.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

FIGURES = ("accuracy", "macro_f1", "recall_at_90_precision")
_SEED = 0
# Draws times rows held at once: 16 MB a tensor.
_CHUNK = 4_000_000

Replicates = dict[str, Float[Tensor, " R"]]


def draw_groups(groups: int, replicates: int) -> Float[Tensor, "R G"]:
    """Returns how often each group is drawn, the same every time; each row sums to `groups`."""
    rng = np.random.default_rng(_SEED)
    drawn = (rng.integers(0, groups, groups) for _ in range(replicates))
    counts = np.stack([np.bincount(one, minlength=groups) for one in drawn])
    return torch.from_numpy(counts).float()


def replicate(
    probs: Float[Tensor, "N C"],
    targets: Int[Tensor, " N"],
    groups: Int[Tensor, " N"],
    draws: Float[Tensor, "R G"],
) -> Replicates:
    """Returns each of FIGURES under each draw.

    Under a draw that holds no labelled row the macro-F1 is that of all rows, the others are nan.

    Args:
        probs: Calibrated probabilities of the labelled rows.
        targets: Their labels.
        groups: Each row's group, in [0, G).
        draws: From `draw_groups`.
    """
    confidence, best = probs.max(1)
    correct = best == targets
    figures = (
        _accuracy(correct, groups, draws),
        _macro_f1(best, targets, probs.shape[1], groups, draws),
        _recall_at_precision(confidence, correct, 0.90, groups, draws),
    )
    return dict(zip(FIGURES, figures, strict=True))


def interval(values: Float[Tensor, " R"]) -> tuple[float, float]:
    """Returns the 2.5th and the 97.5th percentile, undefined draws left out."""
    low, high = values.nanquantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def _accuracy(
    correct: Bool[Tensor, " N"], groups: Int[Tensor, " N"], draws: Float[Tensor, "R G"]
) -> Float[Tensor, " R"]:
    by_row = torch.stack([correct.float(), torch.ones(len(correct))], dim=1)
    hits, rows = _drawn_sums(by_row, groups, draws).unbind(1)
    return hits / rows


def _macro_f1(
    best: Int[Tensor, " N"],
    targets: Int[Tensor, " N"],
    labels: int,
    groups: Int[Tensor, " N"],
    draws: Float[Tensor, "R G"],
) -> Float[Tensor, " R"]:
    """Returns the mean F1 over the labels that occur at all.

    One that a draw misses keeps the F1 that it has over all rows: left out, a rare label that is
    never found would lift the mean of every draw without it.
    """
    answered, wanted = F.one_hot(best, labels).float(), F.one_hot(targets, labels).float()
    scores = _f1(answered, wanted, groups, draws)
    whole = _f1(answered, wanted, groups, torch.ones(1, draws.shape[1]))
    return scores.where(~scores.isnan(), whole).nanmean(1)


def _f1(
    answered: Float[Tensor, "N C"],
    wanted: Float[Tensor, "N C"],
    groups: Int[Tensor, " N"],
    draws: Float[Tensor, "R G"],
) -> Float[Tensor, "R C"]:
    """Returns each label's F1, nan where it does not occur."""
    hits, answers, occurrences = (
        _drawn_sums(rows, groups, draws) for rows in (answered * wanted, answered, wanted)
    )
    return (2 * hits / (answers + occurrences)).where(occurrences > 0, torch.nan)


def _drawn_sums(
    by_row: Float[Tensor, "N C"], groups: Int[Tensor, " N"], draws: Float[Tensor, "R G"]
) -> Float[Tensor, "R C"]:
    sums = torch.zeros(draws.shape[1], by_row.shape[1]).index_add_(0, groups, by_row)
    return draws @ sums


def _recall_at_precision(
    confidence: Float[Tensor, " N"],
    correct: Bool[Tensor, " N"],
    precision: float,
    groups: Int[Tensor, " N"],
    draws: Float[Tensor, "R G"],
) -> Float[Tensor, " R"]:
    confidence, order = confidence.sort(descending=True)
    correct, groups = correct[order].float(), groups[order]
    # No threshold parts rows of equal confidence.
    parts = torch.ones(len(order), dtype=torch.bool)
    parts[:-1] = confidence[:-1] != confidence[1:]
    recalls = []
    for some in draws.split(max(1, _CHUNK // len(order))):
        weights = some[:, groups]
        hits = (weights * correct).cumsum(1)
        good = (hits / weights.cumsum(1) >= precision) & parts
        # Hits only grow along the row, so the largest good one is that of the lowest threshold.
        recalls.append((hits * good).amax(1) / weights.sum(1))
    return torch.cat(recalls)
