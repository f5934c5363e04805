"""When a run's page is written: a run never fails by its page."""

import logging

from schemas.tables import Outcome

from enrich.spark.records import RunSummary
from enrich.spark.report.collect import ReportSources, write_report

log = logging.getLogger("enrich")


def write_page(sources: ReportSources, summary: RunSummary) -> None:
    """Writes the page where the configuration wants one, and its place into the summary.

    Runs on the driver.
    """
    folder = sources.settings.report_dir
    # Where none of the products that were asked about could be read, somebody should see it.
    was_quiet = summary.outcome == Outcome.NOTHING_TO_DO and not summary.counts["pending"]
    if folder is None or was_quiet:
        return
    try:
        page = write_report(sources, summary.run_id, folder)
        summary.report = str(page.resolve())
    except OSError as error:
        log.warning("the page of run %s is missing in %s: %s", summary.run_id, folder, error)
    except Exception:
        log.exception("the page of run %s could not be written", summary.run_id)
