"""Validates one run: its product table before inference, its staged rows before publishing.

Spark counts, Great Expectations checks the figures and writes its pages. Decides nothing about
publishing: it reports, and the job acts on its `failures`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import DataFrame
from schemas.images import ImageSample
from schemas.tables import Suite
from schemas.verdict import NO_BASELINE

from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.counting import count_agreements, count_figures, count_input, select_counted
from expectations.evaluation import evaluate
from expectations.figures import StagedFigures
from expectations.input_checks import check_input
from expectations.report import ValidationReport, read_results
from expectations.settings import ValidationSettings
from expectations.staged_checks import check_staged
from expectations.suites import name_figures
from expectations.summary import OTHER, UNKNOWN


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation of one run.

    Attributes:
        run_id: names the folder of the Data Docs pages.
        settings: what is tolerated.
        docs_dir: local folder for the Data Docs pages, one folder a run; None writes none.
    """

    run_id: str
    settings: ValidationSettings
    docs_dir: Path | None = None

    def validate_input(self, products: DataFrame, images: ImageSample) -> ValidationReport:
        """Checks a product table before hours of inference.

        Runs on the driver: one Spark action.

        Args:
            products: product_id of every row; title and description where is_new says that the
                classifier will be asked about it for the first time.
            images: what became of a sample of the images, which the caller tried to read.
        """
        checks = check_input(count_input(products, images), self.settings)
        notes = () if images.tried else ("no image was tried before inference",)
        return self._report("input", checks, NO_BASELINE, notes)

    def validate_staged(
        self,
        staged: DataFrame,
        published: DataFrame | None,
        attribute_labels: Mapping[str, Sequence[str]],
        baseline: LabelBaseline | None,
        expected_rows: int,
    ) -> ValidationReport:
        """Checks staged rows against the checkpoint's labels, the baseline and what is published.

        Runs on the driver: three Spark actions over a cached projection.

        Args:
            staged: product_id, content_hash, modalities, model_version and, for every attribute
                `a`, `a` and `a_confidence`; product_category, NULL where the catalog has none.
            published: the table that the rows would go to, with the same columns and, where people
                set labels, `corrections`; None compares to nothing published.
            attribute_labels: the checkpoint's labels by attribute.
            baseline: what the catalog is expected to look like, which fits the labels
                (`check_baseline_fits`); None skips the comparisons to it, and the report says so.
            expected_rows: how many rows the run staged by its own count.
        """
        figures = _count(staged, published, list(attribute_labels), baseline)
        checks = check_staged(
            figures, attribute_labels, baseline, expected_rows=expected_rows, settings=self.settings
        )
        name = baseline.catalog if baseline else NO_BASELINE
        return self._report("staged", checks, name, _unchecked(attribute_labels, baseline, figures))

    def _report(
        self, suite: Suite, checks: list[Check], baseline: str, notes: tuple[str, ...]
    ) -> ValidationReport:
        safe_run_id = re.sub(r"[^\w-]", "_", self.run_id)
        folder = self.docs_dir / safe_run_id / suite if self.docs_dir else None
        named = name_figures(checks)
        results, docs_path = evaluate(f"{suite}_rows", named, safe_run_id, folder)
        return ValidationReport(baseline, read_results(suite, named, results), notes, docs_path)


def _count(
    staged: DataFrame,
    published: DataFrame | None,
    attributes: list[str],
    baseline: LabelBaseline | None,
) -> StagedFigures:
    """Counts the staged rows, grouped as the baseline has its categories.

    Runs on the driver.
    """
    categories = [name for name in baseline.categories if name != OTHER] if baseline else []
    others = baseline.other_categories if baseline else None
    rows = select_counted(staged, attributes, categories, others).persist()
    try:
        figures = count_figures(rows, attributes)
        if published is None:
            return figures
        agreements = count_agreements(rows, published, attributes)
        return replace(figures, agreements=agreements)
    finally:
        rows.unpersist()


def _unchecked(
    attribute_labels: Mapping[str, Sequence[str]],
    baseline: LabelBaseline | None,
    figures: StagedFigures,
) -> tuple[str, ...]:
    """Returns a sentence for everything that was compared to nothing, or to a whole catalog."""
    if baseline is None:
        return ("no baseline for this catalog: labels and confidences are compared to nothing",)
    notes = [
        f"{attribute}: the baseline {baseline.catalog!r} does not have it, so it is compared to "
        "nothing"
        for attribute in attribute_labels
        if attribute not in baseline.products.attributes
    ]
    run = figures.summary
    if run is not None and (others := run.categories.get(OTHER)):
        notes.append(
            f"{others.rows} of {run.products.rows} rows are of categories that the baseline "
            f"{baseline.catalog!r} does not tell apart"
        )
    if run is not None and (unknown := run.categories.get(UNKNOWN)):
        notes.append(
            f"{unknown.rows} of {run.products.rows} rows are of categories that the baseline "
            f"{baseline.catalog!r} has not seen: they are expected to look like the whole of it"
        )
    return tuple(notes)
