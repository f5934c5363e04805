"""Collects what a run's page shows from the tables.

Changes no table: a page says what the tables say, so it can be written again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from schemas.tables import CheckOutcome, Outcome

from enrich.classifiers.manifest import Manifest
from enrich.config import JobConfig
from enrich.images.store import ImageStore
from enrich.records import Modalities
from enrich.report.content import (
    AttributeFacts,
    Before,
    Change,
    CheckRow,
    ExpectedLabels,
    RunFacts,
    RunReport,
    name_baseline,
)
from enrich.spark.corrections import select_corrections
from enrich.spark.counting import COUNTS
from enrich.spark.ledger import find_run
from enrich.spark.records import products_per_second
from enrich.spark.report.facts import FactCounts, Kind, count_facts
from enrich.spark.report.gallery import choose_gallery, with_texts
from enrich.spark.report.run_rows import select_run_rows
from enrich.spark.settings import session_settings
from enrich.spark.source import Source
from enrich.spark.tables.creation import fill_columns
from enrich.spark.tables.history import Commit, read_commits
from enrich.spark.tables.output_tables import OutputTables

# Staged rows with their predictions: a million of them took more than a gigabyte.
_ROWS_PER_TASK = 50_000
_TASKS = "spark.sql.shuffle.partitions"
_ROWS_AT_A_TIME = "spark.sql.inMemoryColumnarStorage.batchSize"
_CHANGES_SHOWN = 12
_CHECKS_READ = 10_000
_COMMITS_SEARCHED = 100
# Where a run ended so, its last attempt has published nothing.
_PUBLISHED_NOTHING = (Outcome.STAGED, Outcome.BLOCKED, Outcome.DROPPED)
_OF_THE_LEDGER = (
    "run_id",
    "outcome",
    "run_date",
    "catalog",
    "catalog_version",
    "model_version",
    "asked",
    "seconds",
    "error",
    "reason",
)


@dataclass(frozen=True, slots=True)
class ReportSources:
    """The tables that a page is made of, and what it shows beside their rows.

    `settings_file` is what --config named, None for the job's default. `expected` are the labels of
    the baseline, None without one. `open_source` opens the product table and its pictures.
    """

    tables: OutputTables
    manifest: Manifest
    settings: JobConfig
    settings_file: str | None
    expected: ExpectedLabels | None
    open_source: Callable[[], tuple[Source, ImageStore]]


def collect_report(
    sources: ReportSources, run_id: str, products: DataFrame | None = None
) -> RunReport:
    """Collects what a run's page shows, with the texts of `products`.

    Runs on the driver: six small actions, whose results are bounded by the number of labels,
    checks and cards, however many products there are.

    Raises:
        ConfigError: the ledger knows no such run.
    """
    tables = sources.tables
    ledger = find_run(tables, run_id)
    version, written_at = _find_version_before(tables, ledger)
    # It may be older than an attribute of the run's checkpoint, and have no columns of it.
    found = tables.read_version("product_attributes", version)
    before = fill_columns(found, "product_attributes", tables.attributes)
    quarantine = tables.read_rows("quarantine", run_id)
    with _within_memory(tables.spark, ledger["pending"]):
        rows = _select_rows(sources, run_id, before).persist(StorageLevel.DISK_ONLY)
        try:
            gallery = choose_gallery(rows, quarantine)
            facts = count_facts(rows, before, quarantine, tables.attributes)
        finally:
            rows.unpersist()
    if products is not None:
        gallery = with_texts(gallery, products)
    checks = _read_checks(tables, run_id)
    expected = _choose_expected(sources.expected, checks)
    return RunReport(
        run=_describe_run(sources, ledger),
        checks=checks,
        attributes=tuple(_describe(a, sources, facts, expected) for a in tables.attributes),
        before=Before(
            version=version,
            written_at=written_at,
            products=facts.total(Kind.PUBLISHED),
            seen_again=facts.total(Kind.AGAIN),
            changed=facts.by_key(Kind.AGAIN).get("changed", 0),
        ),
        gallery=gallery,
        statuses=facts.by_key(Kind.STATUS),
        quarantined=facts.by_key(Kind.QUARANTINED),
    )


def _within_memory(spark: SparkSession, rows: int) -> AbstractContextManager[None]:
    """Gives shuffles inside enough tasks for so many rows, and persists few rows at a time."""
    tasks = max(int(spark.conf.get(_TASKS) or 0), math.ceil(rows / _ROWS_PER_TASK))
    return session_settings(spark, {_TASKS: str(tasks), _ROWS_AT_A_TIME: "1000"})


def _find_version_before(
    tables: OutputTables, ledger: Mapping[str, Any]
) -> tuple[int, datetime | None]:
    """Returns the version of `product_attributes` that the run found, and when it was written.

    Runs on the driver; one action. Where the run published nothing, it found what is there at its
    end.
    """
    commits = read_commits(tables, _COMMITS_SEARCHED)
    has_published = ledger["outcome"] not in _PUBLISHED_NOTHING
    version = _find_start(commits, ledger["run_id"], has_published=has_published)
    if version is None:
        version = ledger["published_version"]
    written_at = {commit.version: commit.made_at for commit in commits}
    return version, written_at.get(version)


def _find_start(commits: Sequence[Commit], run_id: str, *, has_published: bool) -> int | None:
    """Returns the version before the run's last commits in a row; None if it made none.

    Only its latest unbroken row of commits counts: what the run had published before another run
    did, or before it was taken back, is not what the page is about. Of a run that `has_published`
    others may have come after that row.
    """
    start = None
    for commit in reversed(commits):
        is_own = commit.run_id == run_id and commit.restored_to is None
        is_of_others = commit.run_id or commit.restored_to is not None
        if is_own:
            start = commit.version - 1
        elif is_of_others and (start is not None or not has_published):
            break
    return start


def _select_rows(sources: ReportSources, run_id: str, before: DataFrame) -> DataFrame:
    """Runs on the driver; lazy."""
    tables = sources.tables
    staged = tables.read_rows("staged_attributes", run_id)
    labels = sources.manifest.config.attributes
    said = select_corrections(tables.read("attribute_corrections"), labels)
    return select_run_rows(staged, said, before, tables.attributes)


def _describe_run(sources: ReportSources, ledger: Mapping[str, Any]) -> RunFacts:
    return RunFacts(
        database=sources.tables.database,
        settings_file=sources.settings_file,
        deletes_missing=sources.settings.deletes_missing,
        counts={name: ledger[name] or 0 for name in COUNTS},
        products_per_second=products_per_second(ledger["asked"], ledger["seconds"]),
        **{name: ledger[name] for name in _OF_THE_LEDGER},
    )


def _read_checks(tables: OutputTables, run_id: str) -> tuple[CheckRow, ...]:
    """Runs on the driver; one action. Those that did not pass come first."""
    columns = [field.name for field in fields(CheckRow)]
    checks = tables.read_rows("label_quality", run_id).select(*columns)
    badness = F.array_position(F.lit([*reversed(CheckOutcome)]), F.col("outcome"))
    order = (badness, "suite", "attribute", "category", "expectation")
    return tuple(
        CheckRow(**row.asDict()) for row in checks.orderBy(*order).limit(_CHECKS_READ).collect()
    )


def _choose_expected(
    named: ExpectedLabels | None, checks: Sequence[CheckRow]
) -> Mapping[str, Mapping[str, int]]:
    """Returns the expected labels, none where the settings name another baseline by now."""
    held_against = name_baseline(checks)
    if named is None or held_against not in (None, named.name):
        return {}
    return named.labels


def _describe(
    attribute: str,
    sources: ReportSources,
    facts: FactCounts,
    expected: Mapping[str, Mapping[str, int]],
) -> AttributeFacts:
    changes = facts.of(Kind.CHANGE, attribute)[:_CHANGES_SHOWN]
    return AttributeFacts(
        name=attribute,
        labels=facts.by_key(Kind.LABEL, attribute),
        before=facts.by_key(Kind.BEFORE, attribute),
        baseline=expected.get(attribute, {}),
        answered=facts.by_bin(Kind.ANSWERED, attribute),
        abstained=facts.by_bin(Kind.ABSTAINED, attribute),
        image_weights=facts.by_bin(Kind.IMAGE_WEIGHT, attribute),
        thresholds=_find_thresholds(attribute, sources, facts),
        changes=tuple(Change(f.key, f.detail, f.products) for f in changes if f.key and f.detail),
    )


def _find_thresholds(
    attribute: str, sources: ReportSources, facts: FactCounts
) -> dict[str, float | None]:
    """Returns the thresholds of the sets of modalities that the run met."""
    met = {fact.detail for fact in facts.of(Kind.STATUS)}
    calibrated = sources.manifest.calibration.attributes[attribute]
    precision = f"{sources.settings.target_precision:.2f}"
    return {m.value: calibrated[m].thresholds[precision] for m in Modalities if m.value in met}
