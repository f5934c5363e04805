"""What a classifier's answers are worth: accuracy, macro-F1, recall at a precision, ECE."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def measure(probs: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> dict[str, float | int]:
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
