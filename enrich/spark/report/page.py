"""When a run's page is written, and from what: a run never fails by its page."""

import dataclasses
import logging
from collections.abc import Callable

from schemas.tables import Outcome

from enrich.classifiers.manifest import Manifest
from enrich.config import JobConfig
from enrich.images.store import ImageStore
from enrich.report.content import Baseline
from enrich.spark.catalog import CatalogSnapshot
from enrich.spark.records import RunSummary
from enrich.spark.report.collect import ReportSources, write_report
from enrich.spark.tables import OutputTables

log = logging.getLogger("enrich")


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """The page of a run, and what its rows are shown beside. Runs on the driver.

    `settings_file` is what --config named, None for the job's default.
    """

    settings: JobConfig
    settings_file: str | None
    manifest: Manifest
    expected: Baseline | None

    def write(
        self,
        tables: OutputTables,
        summary: RunSummary,
        open_shop: Callable[[], tuple[CatalogSnapshot, ImageStore]],
    ) -> None:
        """Writes the page where the configuration wants one; a run never fails by its page."""
        settings = self.settings
        # Where none of the products that were asked about could be read, somebody should see it.
        was_quiet = summary.outcome == Outcome.NOTHING_TO_DO and not summary.counts["pending"]
        if settings.report_dir is None or was_quiet:
            return
        try:
            catalog, store = open_shop()
            sources = ReportSources(
                tables=tables,
                attribute_labels=self.manifest.config.attributes,
                catalog=catalog,
                store=store,
                calibration=self.manifest.calibration,
                target_precision=settings.target_precision,
                baseline=self.expected,
                settings_file=self.settings_file,
            )
            page = write_report(sources, summary.run_id, settings.report_dir)
            summary.report = str(page.resolve())
        except OSError as error:
            folder = settings.report_dir
            log.warning("the page of run %s is missing in %s: %s", summary.run_id, folder, error)
        except Exception:
            log.exception("the page of run %s could not be written", summary.run_id)
