"""Runs drawn from known answers, sound and with faults: how often does the gate block one?

Counts with pandas what the gate counts with Spark, because thousands of runs are drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from bench.gate_answers import SEED, Case
from expectations.baseline import LabelBaseline
from expectations.counts import (
    CONFIDENCE_EDGES,
    AnswerCounts,
    AttributeCounts,
    CatalogCounts,
    GroupCounts,
    MovedCounts,
    MovedKey,
    largest_first,
)
from expectations.custom import AnswersExpectation, ExpectAbstainedShareBelow
from expectations.gate import Gate
from expectations.settings import ValidationSettings
from expectations.suite import build_candidates_suite
from schemas.labels import ABSTAINED
from schemas.tables import CORRECTIONS, CheckOutcome, select_attributes

# Share of a run's answers that are wrong in faults that are not of all of them.
PART = 0.15

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of one model to products, one row each.

    Attributes:
        rows: modalities, model_version, product_category (all None: no categories) and, per
            attribute `a`, `a` (None: abstained), `a_confidence` and `a_best`.
        before: the published answers of the same products; None where nothing is published.
    """

    rows: pd.DataFrame
    before: pd.DataFrame | None = None

    def take(self, places: Places) -> "Answers":
        """Return the answers of those rows."""
        before = None if self.before is None else self.before.iloc[places]
        return Answers(self.rows.iloc[places], before)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return select_attributes(tuple(self.rows.columns))


@dataclass(frozen=True, slots=True)
class Reason:
    """A check that blocks."""

    expectation: str
    attribute: str | None
    category: str | None


def count_answers(answers: Answers) -> AnswerCounts:
    """Return the counts that Spark would make."""
    rows = answers.rows
    groups = {str(name): group for name, group in rows.groupby("product_category", observed=True)}
    catalog = CatalogCounts(
        products=_count_group(rows, answers.attributes),
        categories={
            name: _count_group(group, answers.attributes) for name, group in groups.items()
        },
    )
    return AnswerCounts(catalog, _count_values(rows["model_version"]), _moved(answers))


def build_baseline(answers: Answers) -> LabelBaseline:
    """Return the baseline of these answers."""
    catalog = count_answers(answers).catalog
    assert catalog is not None
    return LabelBaseline(
        catalog="the catalog",
        model_version=str(answers.rows["model_version"].iloc[0]),
        source="benchmarks",
        products=catalog.products,
        categories=catalog.categories,
    )


def find_reasons(
    answers: Answers, baseline: LabelBaseline, settings: ValidationSettings
) -> Iterator[Reason]:
    """Yield the checks that block a run of these answers; rules on single rows are left out."""
    counts = count_answers(answers)
    labels = {a: tuple(baseline.products.attributes[a].labels) for a in answers.attributes}
    suite = build_candidates_suite(settings, labels, baseline, counts, len(answers.rows))
    for one in suite:
        if isinstance(one, AnswersExpectation):
            finding = one.judge(counts)
            if finding is not None and not finding.passed:
                yield Reason(one.expectation_type, one.column, one.category)
        elif isinstance(one, ExpectAbstainedShareBelow):
            group = counts.group(None)
            assert group is not None
            nulls = group.attributes[one.column].labels.get(ABSTAINED, 0)
            if nulls / group.rows > 1 - one.mostly:
                yield Reason(one.expectation_type, one.column, None)


def is_blocked(answers: Answers, baseline: LabelBaseline, settings: ValidationSettings) -> bool:
    """Return whether a run of these answers would not be published."""
    return next(find_reasons(answers, baseline, settings), None) is not None


def measure_false_alarms(
    sound: Answers, size: int, baseline_size: int, runs: int, settings: ValidationSettings
) -> float:
    """Return the share of sound runs that are blocked; run and baseline share no product."""
    rng = np.random.default_rng([SEED, size])
    blocked = 0
    for _ in range(runs):
        order = rng.permutation(len(sound.rows))
        baseline = build_baseline(sound.take(order[-baseline_size:]))
        blocked += is_blocked(sound.take(order[:size]), baseline, settings)
    return blocked / runs


def measure_false_alarms_by_category(
    sound: Answers, size: int, baseline_size: int, runs: int, settings: ValidationSettings
) -> float:
    """Return the share of sound runs of one category that are blocked.

    Baselines are of the whole catalog. A category with fewer products than a run gives all that
    the baseline left of it.
    """
    names = sorted(sound.rows["product_category"].unique())
    blocked = 0
    for number in range(runs):
        order = np.random.default_rng([SEED, number]).permutation(len(sound.rows))
        baseline = build_baseline(sound.take(order[-baseline_size:]))
        left = order[:-baseline_size]
        is_of = sound.rows["product_category"].to_numpy()[left] == names[number % len(names)]
        blocked += is_blocked(sound.take(left[is_of][:size]), baseline, settings)
    return blocked / runs


def measure_detection(
    case: Answers, size: int, baseline: LabelBaseline, runs: int, settings: ValidationSettings
) -> float:
    """Return the share of faulty runs that are blocked; a run may hold a product twice."""
    rng = np.random.default_rng([SEED, size])
    drawn = (rng.integers(len(case.rows), size=size) for _ in range(runs))
    return sum(is_blocked(case.take(places), baseline, settings) for places in drawn) / runs


def inject_faults(kept: Mapping[Case, pd.DataFrame], rows: int) -> dict[str, Answers]:
    """Return answers with each fault, by name; those of pixels are among the kept ones.

    Args:
        kept: what `bench.gate_answers.read_answers` returned.
        rows: how many of the sound answers to spoil.
    """
    sound = kept[Case.SOUND].iloc[:rows]
    rng = np.random.default_rng(SEED)
    faults = {str(case): answers for case, answers in kept.items() if case is not Case.SOUND}
    part = rng.random(rows) < PART
    some = sound.copy()
    some[part] = kept[Case.IMAGES_MISSING][part]
    faults["images_missing in 15%"] = some
    for attribute in select_attributes(tuple(sound.columns)):
        labels = sound[attribute].value_counts().index
        if len(labels) < 2:
            continue  # stuck on its label it says what it said
        # The fault that hides best.
        faults[f"{attribute} stuck"] = _relabel(sound, attribute, labels[0])
        renamed = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
        faults[f"{attribute} permuted"] = _relabel(sound, attribute, sound[attribute].map(renamed))
        for name, label, among in (
            (f"{labels[0]} becomes {labels[1]}", labels[1], sound[attribute] == labels[0]),
            (f"becomes {labels[1]}", labels[1], sound[attribute] != labels[1]),
            ("lost", None, sound[attribute].notna()),
        ):
            chosen = _choose(among.to_numpy(), rng)
            spoilt = sound[attribute].where(~chosen, label)
            faults[f"{attribute} {name} in 15%"] = _relabel(sound, attribute, spoilt)
    cases = {name: Answers(spoilt) for name, spoilt in faults.items()}
    given = rng.permutation(rows)
    cases["answers_of_others"] = Answers(sound.iloc[given], before=sound)
    places = np.where(part, given, np.arange(rows))
    cases["answers_of_others in 15%"] = Answers(sound.iloc[places], before=sound)
    return cases


def check_by_gate(
    spark: SparkSession, answers: Answers, baseline: LabelBaseline, settings: ValidationSettings
) -> set[Reason]:
    """Return the checks that block a run when Spark counts and Great Expectations evaluates."""
    labels = {a: tuple(baseline.products.attributes[a].labels) for a in answers.attributes}
    gate = Gate(settings, labels, baseline)
    before = None if answers.before is None else to_spark(spark, answers.before)
    verdict = gate.check_candidates(to_spark(spark, answers.rows), before, len(answers.rows))
    return {
        Reason(one["expectation"], one["attribute"], one["category"])
        for one in verdict.quality
        if one["outcome"] is CheckOutcome.FAIL
    }


def to_spark(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    """Return answers as the tables have them."""
    attributes = select_attributes(tuple(rows.columns))
    ids = [f"product-{place}" for place in range(len(rows))]
    columns = {name: rows[name].to_numpy() for name in rows.columns}
    for name in (*attributes, *(f"{a}_best" for a in attributes), "product_category"):
        # A column of nothing but None would have no type.
        columns[name] = pd.Series(rows[name].to_numpy(), dtype="object").astype("string").array
    table = spark.createDataFrame(pd.DataFrame({"product_id": ids, "content_hash": ids, **columns}))
    predictions = F.array(
        *(
            F.struct(
                F.lit(a).alias("attribute"),
                F.col(f"{a}_best").alias("label"),
                F.lit(None).cast("string").alias("abstention"),
            )
            for a in attributes
        )
    )
    table = table.withColumn("predictions", predictions).withColumn("reason", F.lit("new"))
    return table.drop(*(f"{a}_best" for a in attributes)).withColumn(
        "corrections", F.lit(None).cast(CORRECTIONS)
    )


def _count_group(rows: pd.DataFrame, attributes: Sequence[str]) -> GroupCounts:
    return GroupCounts(
        rows=len(rows),
        modalities=_count_values(rows["modalities"]),
        attributes={
            a: AttributeCounts(
                labels=_count_values(rows[a]), confidences=_count_bins(rows[f"{a}_confidence"])
            )
            for a in attributes
        },
    )


def _count_values(column: pd.Series) -> dict[str, int]:
    counted = column.value_counts()
    named = {str(name): int(n) for name, n in counted.items() if n}
    if missing := int(column.isna().sum()):
        named[ABSTAINED] = missing
    return largest_first(named)


def _count_bins(confidences: pd.Series) -> tuple[int, ...]:
    bins = np.searchsorted(CONFIDENCE_EDGES[:-1], confidences.to_numpy(), side="right")
    return tuple(map(int, np.bincount(bins, minlength=len(CONFIDENCE_EDGES))))


def _moved(answers: Answers) -> dict[MovedKey, MovedCounts]:
    if answers.before is None:
        return {}
    found = {}
    for attribute in answers.attributes:
        best = f"{attribute}_best"
        moved = answers.rows[best].to_numpy() != answers.before[best].to_numpy()
        key = MovedKey(attribute, None, same_model=True)
        found[key] = MovedCounts(len(moved), int(moved.sum()))
    return found


def _relabel(answers: pd.DataFrame, attribute: str, labels: object) -> pd.DataFrame:
    return answers.assign(**{attribute: labels, f"{attribute}_best": labels})


def _choose(among: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return PART of all rows, chosen from those that are among them; all where these are fewer."""
    chosen = np.zeros(len(among), dtype=bool)
    places = rng.permutation(np.flatnonzero(among))
    chosen[places[: round(PART * len(among))]] = True
    return chosen
