"""Sends answers through the gate: its own checks, on figures counted from arrays, not by Spark."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from schemas.labels import ABSTAINED

from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill.answers import DrawnAnswers, count, count_labels
from expectations.figures import Agreement, ConfidenceFigures, StagedFigures
from expectations.settings import ValidationSettings
from expectations.staged_checks import check_staged
from expectations.summary import (
    CONFIDENCE_EDGES,
    AttributeSummary,
    CatalogSummary,
    GroupSummary,
)


def count_answers(answers: DrawnAnswers, before: DrawnAnswers | None = None) -> StagedFigures:
    """Returns the figures that Spark would count.

    Args:
        answers: of one run.
        before: the published answers of the same products in the same order.
    """
    return StagedFigures(
        rows=len(answers),
        distinct_products=len(answers),
        model_versions={answers.model_version: len(answers)},
        summary=_summarise(answers),
        label_rows={a: count_labels(column) for a, column in answers.labels.items()},
        confidences={
            attribute: ConfidenceFigures(0, 0, float(values.min()), float(values.max()))
            for attribute, values in answers.confidences.items()
        },
        agreements=() if before is None else tuple(_agreements(answers, before)),
    )


def build_baseline(answers: DrawnAnswers) -> LabelBaseline:
    """Returns the baseline of these answers."""
    summary = _summarise(answers)
    return LabelBaseline(
        catalog="drill",
        model_version=answers.model_version,
        source="the drill",
        products=summary.products,
        categories=summary.categories,
    )


def known_labels(answers: DrawnAnswers, baseline: LabelBaseline) -> dict[str, tuple[str, ...]]:
    """Returns the labels that the classifier seems to have: of each attribute, all ever given."""
    return {
        attribute: tuple(
            sorted(
                {*column.categories, *baseline.products.attributes[attribute].labels} - {ABSTAINED}
            )
        )
        for attribute, column in answers.labels.items()
    }


def check_answers(
    answers: DrawnAnswers,
    baseline: LabelBaseline,
    settings: ValidationSettings,
    before: DrawnAnswers | None = None,
) -> list[Check]:
    """Returns the gate's checks of one run."""
    return check_staged(
        count_answers(answers, before),
        known_labels(answers, baseline),
        baseline,
        expected_rows=len(answers),
        settings=settings,
    )


def _summarise(answers: DrawnAnswers) -> CatalogSummary:
    categories = {}
    if answers.categories is not None:
        for name in count(answers.categories):
            rows = np.flatnonzero(answers.categories == name)
            categories[name] = _summarise_group(answers.take(rows))
    return CatalogSummary(products=_summarise_group(answers), categories=categories)


def _summarise_group(answers: DrawnAnswers) -> GroupSummary:
    return GroupSummary(
        rows=len(answers),
        modalities=count(answers.modalities),
        attributes={
            attribute: _summarise_attribute(column, answers.confidences[attribute])
            for attribute, column in answers.labels.items()
        },
    )


def _summarise_attribute(
    labels: pd.Categorical, confidences: NDArray[np.float64]
) -> AttributeSummary:
    bins = np.searchsorted(CONFIDENCE_EDGES[:-1], confidences, side="right")
    answered = confidences[labels != ABSTAINED]
    return AttributeSummary(
        labels=count(labels),
        confidences=tuple(map(int, np.bincount(bins, minlength=len(CONFIDENCE_EDGES)))),
        answered_mean=round(float(answered.mean()), 6) if len(answered) else None,
        answered_sd=round(float(answered.std()), 6) if len(answered) else None,
    )


def _agreements(answers: DrawnAnswers, before: DrawnAnswers) -> list[Agreement]:
    everywhere = np.ones(len(answers), dtype=bool)
    scopes: dict[str | None, NDArray[np.bool_]] = {None: everywhere}
    if answers.categories is not None:
        scopes |= {name: answers.categories == name for name in answers.categories.categories}
    agreements = []
    for attribute, column in answers.labels.items():
        now, then = np.asarray(column), np.asarray(before.labels[attribute])
        comparable = (now != ABSTAINED) & (then != ABSTAINED)
        agreements += [
            Agreement(
                attribute,
                name,
                answers.model_version == before.model_version,
                int((comparable & inside).sum()),
                int((comparable & inside & (now == then)).sum()),
            )
            for name, inside in scopes.items()
        ]
    return agreements
