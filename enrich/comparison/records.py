"""Figures with their intervals, and what one checkpoint's differ from another's.

A record is a dictionary of plain values, ready for JSON. Knows nothing of classifiers.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from enrich.calibration import DEFAULT_TARGET_PRECISION
from enrich.comparison.bootstrap import (
    COMPARED,
    FIGURES,
    LEAST_GROUPS,
    Replicates,
    interval,
    replicate,
)
from enrich.training.answers import CalibratedAnswers
from enrich.training.evaluation import measure_answers

Record = dict[str, Any]


def measure_with_intervals(
    answers: CalibratedAnswers, draws: Float[Tensor, "R G"]
) -> tuple[Record, Replicates]:
    """Returns every figure of one attribute, `<figure>_interval` for FIGURES, and the replicates.

    The answers are of one row at least, and their groups are those drawn. A figure that is of fewer
    than LEAST_GROUPS has nan for replicates, and so neither it nor its difference has an interval.
    """
    of, thresholds = answers.of, answers.thresholds[DEFAULT_TARGET_PRECISION]
    replicates = replicate(answers.probs, of.targets, of.groups, thresholds, draws)
    is_answered = answers.probs.amax(1) >= thresholds
    for figure in FIGURES:
        groups = of.groups if figure in COMPARED else of.groups[is_answered]
        if len(groups.unique()) < LEAST_GROUPS:
            replicates[figure] = torch.full_like(replicates[figure], math.nan)
    record: Record = dict(measure_answers(answers))
    record |= {f"{figure}_interval": _bounds(replicates[figure]) for figure in FIGURES}
    return record, replicates


def subtract(record: Record, replicates: Replicates, other: Record, others: Replicates) -> Record:
    """Returns COMPARED less another checkpoint's, with the intervals of the paired difference."""
    same = ("checkpoint", "shop", "condition", "attribute")
    difference: Record = {key: record[key] for key in same} | {"against": other["checkpoint"]}
    for figure in COMPARED:
        difference[figure] = round(record[figure] - other[figure], 4)
        difference[f"{figure}_interval"] = _bounds(replicates[figure] - others[figure])
    return difference


def _bounds(values: Float[Tensor, " R"]) -> list[float | None]:
    # JSON has no nan.
    return [None if math.isnan(bound) else round(bound, 4) for bound in interval(values)]
