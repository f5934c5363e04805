"""Validates one run's staged rows, before any of them is published.

Decides nothing about publishing: it reports, and the job acts on `ValidationReport.passed`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlparse

import great_expectations as gx
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.baseline import ABSTAINED, LabelBaseline, check_baseline_fits
from expectations.report import ValidationReport, check_from_result
from expectations.settings import ValidationSettings
from expectations.suites import (
    MARKUP,
    MARKUP_STAND_INS,
    build_staged_suite,
    confidence_column,
    with_abstained_column,
)

# Counts and a few offending values, never whole rows. The values are labels or confidences: the
# one expectation on product_id counts, and no other column of the product is handed over.
RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 20}

DOCS_SITE = "label_quality"


def validate_staged(
    staged: DataFrame,
    attribute_labels: Mapping[str, Sequence[str]],
    baseline: LabelBaseline | None,
    *,
    run_id: str,
    expected_rows: int,
    docs_dir: Path | None,
    settings: ValidationSettings,
) -> ValidationReport:
    """Check staged rows against the checkpoint's labels and the catalog's baseline.

    Runs on the driver: some thirty small Spark jobs for three attributes, over a cached projection
    of the labels. On two busy cores 500 rows took 8 s the first time in a process, then 3 to 4 s.

    Args:
        staged: product_id and, for every attribute `a`, `a` and `a_confidence`; other columns are
            ignored.
        attribute_labels: the checkpoint's labels by attribute.
        baseline: the catalog's expected label shares; None skips the distribution checks, and the
            report says so.
        expected_rows: how many rows the run staged by its own count.
        docs_dir: local folder for the Data Docs pages, one folder a run; None writes none.

    Raises:
        BaselineError: the baseline names what the checkpoint does not know.
    """
    if baseline is not None:
        check_baseline_fits(baseline, attribute_labels)
    safe_run_id = re.sub(r"[^\w-]", "_", run_id)
    context = _open_context(docs_dir / safe_run_id if docs_dir else None)
    suite = build_staged_suite(attribute_labels, baseline, rows=expected_rows, thresholds=settings)
    # Every metric is a Spark action, and without the cache each would read the table again.
    labels = _select_labels(staged, attribute_labels).persist()
    try:
        result = _run_suite(context, suite, labels, safe_run_id)
    finally:
        labels.unpersist()
    return ValidationReport(
        baseline=baseline.catalog if baseline else "none",
        checks=tuple(map(check_from_result, result.results)),
        notes=_unchecked(attribute_labels, baseline),
        docs_path=_write_data_docs(context) if docs_dir else None,
    )


def _select_labels(staged: DataFrame, attribute_labels: Mapping[str, Sequence[str]]) -> DataFrame:
    """Keep what the suite looks at, and add columns where an abstention is a label.

    Labels lose their markup here as they do in the suite.

    Runs on the driver.
    """
    columns = [F.col("product_id")]
    for attribute in attribute_labels:
        label = F.translate(attribute, MARKUP, MARKUP_STAND_INS)
        columns += [
            label.alias(attribute),
            F.col(confidence_column(attribute)),
            F.coalesce(label, F.lit(ABSTAINED)).alias(with_abstained_column(attribute)),
        ]
    return staged.select(*columns)


def _open_context(docs_dir: Path | None) -> EphemeralDataContext:
    """Open a context that keeps everything in memory but the Data Docs pages.

    Runs on the driver. It becomes the process's current Great Expectations context.
    """
    site = {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "show_how_to_buttons": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(docs_dir.resolve()) if docs_dir else None,
        },
    }
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            data_docs_sites={DOCS_SITE: site} if docs_dir else {},
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )


def _run_suite(
    context: EphemeralDataContext, suite: gx.ExpectationSuite, labels: DataFrame, run_name: str
) -> ExpectationSuiteValidationResult:
    """Evaluate the suite on a cached frame.

    Runs on the driver.
    """
    # persist=False: the caller caches the frame and lets go of it, which the engine never does.
    source = context.data_sources.add_spark("spark", persist=False)
    batch = source.add_dataframe_asset("staged").add_batch_definition_whole_dataframe("run")
    validation = gx.ValidationDefinition(
        name="staged_attributes", data=batch, suite=context.suites.add(suite)
    )
    return validation.run(
        batch_parameters={"dataframe": labels},
        result_format=RESULT_FORMAT,
        run_id=RunIdentifier(run_name=run_name, run_time=datetime.now(UTC)),
    )


def _write_data_docs(context: EphemeralDataContext) -> str:
    """Write the pages and return the path of their index.

    Runs on the driver.
    """
    index_url = context.build_data_docs()[DOCS_SITE]
    return unquote(urlparse(index_url).path)


def _unchecked(
    attribute_labels: Mapping[str, Sequence[str]], baseline: LabelBaseline | None
) -> tuple[str, ...]:
    """Say which label distributions nothing was compared to."""
    if baseline is None:
        return ("no baseline for this catalog: label distributions are not checked",)
    return tuple(
        f"{attribute}: the baseline {baseline.catalog!r} has no shares of it, "
        "so its label distribution is not checked"
        for attribute in attribute_labels
        if attribute not in baseline.attributes
    )
