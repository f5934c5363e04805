"""Figures with their intervals, and what one checkpoint's differ from another's.

A record is a dictionary of plain values, ready for JSON. Knows nothing of classifiers.
"""

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor

from enrich.comparison.bootstrap import FIGURES, Replicates, interval, replicate
from enrich.training.answers import CalibratedAnswers
from enrich.training.evaluation import measure_answers

Record = dict[str, Any]


def measure_with_intervals(
    answers: CalibratedAnswers, draws: Float[Tensor, "R G"]
) -> tuple[Record, Replicates]:
    """Returns every figure of one attribute, `<figure>_interval` for FIGURES, and the replicates.

    The answers are of one row at least, and their groups are those drawn.
    """
    replicates = replicate(answers.probs, answers.of.targets, answers.of.groups, draws)
    record: Record = dict(measure_answers(answers))
    record |= {f"{figure}_interval": _bounds(replicates[figure]) for figure in FIGURES}
    return record, replicates


def subtract(record: Record, replicates: Replicates, other: Record, others: Replicates) -> Record:
    """Returns FIGURES less another checkpoint's, with the intervals of the paired difference."""
    same = ("checkpoint", "shop", "condition", "attribute")
    difference: Record = {key: record[key] for key in same} | {"against": other["checkpoint"]}
    for figure in FIGURES:
        difference[figure] = round(record[figure] - other[figure], 4)
        difference[f"{figure}_interval"] = _bounds(replicates[figure] - others[figure])
    return difference


def _bounds(values: Float[Tensor, " R"]) -> list[float | None]:
    # JSON has no nan; it stands where no draw held a labelled row.
    return [None if math.isnan(bound) else round(bound, 4) for bound in interval(values)]
