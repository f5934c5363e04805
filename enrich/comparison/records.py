"""Figures with their intervals, and what one checkpoint's differ from another's.

A record is a dictionary of plain values, ready for JSON. Knows nothing of classifiers.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from enrich.comparison.bootstrap import FIGURES, LEAST_GROUPS, Replicates, interval, replicate
from enrich.training.answers import CalibratedAnswers
from enrich.training.evaluation import measure_answers

Record = dict[str, Any]


def measure_with_intervals(
    answers: CalibratedAnswers, draws: Float[Tensor, "R G"]
) -> tuple[Record, Replicates]:
    """Returns every figure of one attribute, `<figure>_interval` for FIGURES, and the replicates.

    The answers are of one row at least, and their groups are those drawn. Where fewer than
    LEAST_GROUPS have a row the replicates are nan, and so neither these figures nor their
    differences have intervals.
    """
    replicates = replicate(answers.probs, answers.of.targets, answers.of.groups, draws)
    if len(answers.of.groups.unique()) < LEAST_GROUPS:
        replicates = {name: torch.full_like(one, math.nan) for name, one in replicates.items()}
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
    # JSON has no nan.
    return [None if math.isnan(bound) else round(bound, 4) for bound in interval(values)]
