"""Writes a run's page: a run never fails by it."""

import logging
from datetime import datetime
from pathlib import Path

from schemas.tables import Outcome

from enrich.errors import EnrichError
from enrich.files.whole import whole_file
from enrich.images.store import ImageStore
from enrich.report.page import render_page
from enrich.report.thumbnails import make_thumbnails
from enrich.spark.records import RunSummary
from enrich.spark.report.collect import ReportSources, collect_report
from enrich.spark.source import Source, refuse_replaced

log = logging.getLogger(__name__)


def write_page(
    sources: ReportSources, summary: RunSummary, settled_at: datetime | None = None
) -> None:
    """Writes the page where the configuration wants one, and its place into the summary.

    Where an earlier command had settled the run, at `settled_at`, the page that it wrote stays: the
    tables may have moved on. Runs on the driver.
    """
    folder = sources.settings.report_dir
    # A run that could read none of the products that it asked about had nothing to publish, and is
    # worth a page.
    was_quiet = summary.outcome == Outcome.NOTHING_TO_DO and not summary.counts["pending"]
    if folder is None or was_quiet:
        return
    page = _name_page(folder, summary.run_id)
    try:
        if settled_at is None or not _is_written_since(settled_at, page):
            write_report(sources, summary.run_id, folder)
        summary.report = str(page.resolve())
    except OSError as error:
        log.warning("the page of run %s is missing in %s: %s", summary.run_id, folder, error)
    except Exception:
        log.exception("the page of run %s could not be written", summary.run_id)


def write_report(sources: ReportSources, run_id: str, folder: Path) -> Path:
    """Writes the page of a run that is in the ledger to `<folder>/<run_id>.html`.

    Runs on the driver. Where the product table is out of reach the page goes without its texts and
    pictures.

    Raises:
        ConfigError: the ledger knows no such run.
    """
    source, store = _open_source(sources)
    report = collect_report(sources, run_id, source and source.products)
    pictures = {} if store is None else make_thumbnails(store, report.gallery.pictures)
    page = render_page(report, pictures)
    path = _name_page(folder, run_id)
    with whole_file(path) as partial:
        partial.write_bytes(page)
    return path


def _name_page(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id}.html"


def _is_written_since(moment: datetime, page: Path) -> bool:
    """Returns whether there is such a page, and no older: a command may be killed before it."""
    return page.exists() and page.stat().st_mtime >= moment.timestamp()


def _open_source(sources: ReportSources) -> tuple[Source, ImageStore] | tuple[None, None]:
    try:
        source, store = sources.open_source()
        refuse_replaced(source)
        return source, store
    except EnrichError as error:
        # When a run is settled later, its product table may be gone, or the next one half written.
        log.warning("the page shows no texts and no pictures: %s", error)
        return None, None
