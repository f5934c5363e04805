"""Puts counts of values together to the figures of a run: plain Python, no Spark."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.labels import ABSTAINED

from expectations.figures import ConfidenceFigures, StagedFigures
from expectations.summary import (
    CONFIDENCE_EDGES,
    AttributeSummary,
    CatalogSummary,
    GroupSummary,
)

MODALITIES, MODEL = "modalities", "model_version"


@dataclass(frozen=True, slots=True)
class CountedValue:
    """Rows that share category, value and bin of confidence.

    Attributes:
        group: the category, None where the rows have none.
        attribute: None where `kind` says what else the value is: `MODALITIES` or `MODEL`.
        value: the label, None where the classifier abstained.
        bin: place in `CONFIDENCE_EDGES`, None where the confidence is missing or no probability.
        rows: how many they are.
        first: how many of them are the first one with their picture and text (`_is_first`).
        missing, outside: rows whose confidence is NULL; rows whose confidence is no probability.
        total, squares: sum of the first rows' confidences, and of their squares; None without any.
        lowest, highest: of the confidences; None where `bin` is.
    """

    group: str | None
    attribute: str | None
    kind: str
    value: str | None
    bin: int | None
    rows: int
    first: int
    missing: int
    outside: int
    total: float | None
    squares: float | None
    lowest: float | None
    highest: float | None


def build_figures(
    counted: Sequence[CountedValue], attributes: Sequence[str], distinct_products: int
) -> StagedFigures:
    """Returns a run's figures, agreements left out."""
    models: Counter[str] = Counter()
    for value in counted:
        if value.kind == MODEL:
            models[str(value.value)] += value.rows
    return StagedFigures(
        rows=models.total(),
        distinct_products=distinct_products,
        model_versions=dict(models),
        summary=_summarise(counted, attributes) if counted else None,
        label_rows={a: _count_labels(_of(counted, a)) for a in attributes},
        confidences={a: _confidence_figures(_of(counted, a)) for a in attributes},
    )


def _summarise(counted: Sequence[CountedValue], attributes: Sequence[str]) -> CatalogSummary:
    by_group: dict[str, list[CountedValue]] = defaultdict(list)
    for value in counted:
        if value.group is not None:
            by_group[value.group].append(value)
    return CatalogSummary(
        products=_summarise_group(counted, attributes),
        categories={name: _summarise_group(of, attributes) for name, of in by_group.items()},
    )


def _summarise_group(counted: Sequence[CountedValue], attributes: Sequence[str]) -> GroupSummary:
    modalities: Counter[str] = Counter()
    for value in counted:
        if value.kind == MODALITIES:
            modalities[str(value.value)] += value.first
    return GroupSummary(
        rows=modalities.total(),
        modalities=_largest_first(modalities),
        attributes={a: _summarise_attribute(_of(counted, a)) for a in attributes},
    )


def _summarise_attribute(counted: Sequence[CountedValue]) -> AttributeSummary:
    labels: Counter[str] = Counter()
    bins = [0] * len(CONFIDENCE_EDGES)
    answered, total, squares = 0, 0.0, 0.0
    for rows in counted:
        if not rows.first:
            continue
        labels[ABSTAINED if rows.value is None else rows.value] += rows.first
        if rows.bin is None:
            continue
        bins[rows.bin] += rows.first
        if rows.value is not None:
            answered += rows.first
            total, squares = total + (rows.total or 0.0), squares + (rows.squares or 0.0)
    mean = total / answered if answered else None
    sd = None if mean is None else max(squares / answered - mean**2, 0.0) ** 0.5
    return AttributeSummary(
        labels=_largest_first(labels),
        confidences=tuple(bins),
        answered_mean=None if mean is None else round(mean, 6),
        answered_sd=None if sd is None else round(sd, 6),
    )


def _count_labels(counted: Sequence[CountedValue]) -> dict[str, int]:
    labels: Counter[str] = Counter()
    for one in counted:
        if one.value is not None:
            labels[one.value] += one.rows
    return _largest_first(labels)


def _confidence_figures(counted: Sequence[CountedValue]) -> ConfidenceFigures:
    return ConfidenceFigures(
        missing=sum(one.missing for one in counted),
        outside=sum(one.outside for one in counted),
        lowest=min((one.lowest for one in counted if one.lowest is not None), default=None),
        highest=max((one.highest for one in counted if one.highest is not None), default=None),
    )


def _of(counted: Iterable[CountedValue], attribute: str) -> list[CountedValue]:
    return [one for one in counted if one.attribute == attribute]


def _largest_first(counts: Counter[str]) -> dict[str, int]:
    """Returns the counts in an order that a reviewer can read and that is always the same."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
