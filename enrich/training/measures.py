"""What a classifier's answers are worth: accuracy, macro-F1, recall at a precision, ECE."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Figures = dict[str, float | int | None]

# What people call the figures. t90 is the checkpoint's own threshold for a precision of 90 %.
HEADINGS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "recall_at_90_precision": "R@90P",
    "recall_at_95_precision": "R@95P",
    "precision_at_90_threshold": "precision at t90",
    "answered_at_90_threshold": "answered at t90",
    "precision_at_95_threshold": "precision at t95",
    "answered_at_95_threshold": "answered at t95",
    "ece_before_calibration": "ECE before",
    "ece": "ECE",
    "mean_image_weight": "image weight",
}


def measure(probs: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> Figures:
    """Returns all figures of one attribute, on rows that carry a label of it."""
    if len(targets) == 0:
        return {"rows": 0}
    confidence, best = probs.max(1)
    correct = best == targets
    return {
        "rows": len(targets),
        "accuracy": round(correct.float().mean().item(), 4),
        "macro_f1": round(macro_f1(best, targets), 4),
        "recall_at_90_precision": round(recall_at_precision(confidence, correct, 0.90), 4),
        "recall_at_95_precision": round(recall_at_precision(confidence, correct, 0.95), 4),
        "ece": round(expected_calibration_error(confidence, correct), 4),
    }


def measure_thresholds(
    probs: Float[Tensor, "N C"],
    targets: Int[Tensor, " N"],
    thresholds: Mapping[float, Float[Tensor, " N"]],
) -> Figures:
    """Returns what each row's own threshold holds: how many are answered, how many of those right.

    `thresholds` maps a target precision to the confidence from which on a row is answered. The
    precision is None where none is; the rows are at least one.
    """
    confidence, best = probs.max(1)
    figures: Figures = {}
    for precision, threshold in thresholds.items():
        answered = confidence >= threshold
        right = (best == targets)[answered].float()
        percent = f"{100 * precision:.0f}"
        figures[f"precision_at_{percent}_threshold"] = (
            round(right.mean().item(), 4) if len(right) else None
        )
        figures[f"answered_at_{percent}_threshold"] = round(answered.float().mean().item(), 4)
    return figures


def macro_f1(best: Int[Tensor, " N"], targets: Int[Tensor, " N"]) -> float:
    """Returns the mean F1 over the labels that occur in `targets`, in [0, 1]."""
    scores = []
    for label in targets.unique():
        hits = ((best == label) & (targets == label)).sum().item()
        scores.append(2 * hits / ((best == label).sum().item() + (targets == label).sum().item()))
    return sum(scores) / len(scores)


def recall_at_precision(
    confidence: Float[Tensor, " N"], correct: Bool[Tensor, " N"], precision: float
) -> float:
    """Returns correct answers above the lowest threshold of that precision over all rows."""
    confidence, order = confidence.sort(descending=True)
    hits = correct[order].double().cumsum(0)
    good = hits / torch.arange(1, len(hits) + 1) >= precision
    # No threshold parts rows of equal confidence.
    good[:-1] &= confidence[:-1] != confidence[1:]
    return float(hits[good.nonzero()[-1]] / len(hits)) if good.any() else 0.0


def expected_calibration_error(
    confidence: Float[Tensor, " N"], correct: Bool[Tensor, " N"], bins: int = 15
) -> float:
    """Returns the mean gap of confidence and accuracy over equal-width bins, in [0, 1]."""
    which = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins).index_add_(0, which, confidence.float() - correct.float())
    return float(gap.abs().sum() / len(confidence))
