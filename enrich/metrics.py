"""Prometheus metrics of a database's last run and of one that encodes now.

They are text files for the textfile collector of node_exporter: a run is over too soon to be
scraped itself. They are made of a run's summary. No run fails by its metrics.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from schemas.tables import SUCCEEDED, State

from enrich.places import Place, write_place

log = logging.getLogger(__name__)

PREFIX = "catalog_enrichment"


@contextmanager
def recorded(folder: Place | None, database: str, summary: Any) -> Iterator[None]:
    """Write the metrics of the refresh inside; an error makes it a failed run.

    The folder is that of node_exporter's `--collector.textfile.directory`; None writes no file. The
    refresh fills in the summary, its `RunSummary`.
    """
    started_at = datetime.now(UTC)
    # A killed run has left its last figures.
    write_running(folder, database, None)
    try:
        yield
    except BaseException:
        failed = dataclasses.asdict(summary) | {"outcome": State.FAILED}
        write_metrics(folder, database, failed, started_at, datetime.now(UTC))
        raise
    said = dataclasses.asdict(summary)
    write_metrics(folder, database, said, started_at, datetime.now(UTC))


def write_metrics(
    folder: Place | None,
    database: str,
    summary: Mapping[str, Any],
    started_at: datetime,
    finished_at: datetime,
) -> None:
    """Write the metrics of a run to `catalog_enrichment_<database>.prom` atomically.

    The time of a success goes to `catalog_enrichment_<database>_success.prom`, which later runs
    leave as it is until one succeeds. `summary` has the fields of `RunSummary`, as far as the run
    got. Times have a time zone. Never raises: errors are logged.
    """
    if folder is None:
        return
    try:
        gauges = _Gauges(database)
        _add_run(gauges, summary, started_at, finished_at)
        write_place(folder / f"{PREFIX}_{database}.prom", generate_latest(gauges.registry))
        if summary["outcome"] in SUCCEEDED:
            gauges = _Gauges(database)
            text = "When a run last published or found nothing to do."
            gauges.set("last_success_timestamp_seconds", text, finished_at.timestamp())
            write_place(
                folder / f"{PREFIX}_{database}_success.prom", generate_latest(gauges.registry)
            )
    except OSError as error:
        log.error("the metrics of %s could not be written to %s: %s", database, folder, error)
    except Exception:
        log.exception("the metrics of %s could not be written to %s", database, folder)


# Of encoding, by name.
FIGURES = {
    "asked": "Contents that the run encodes.",
    "done": "Of these, contents that are encoded.",
    "per_second": "Contents encoded in a second, since encoding began.",
    "slots_busy": "Tasks at work.",
    "task_retries": "Tasks that failed, and were tried again.",
    "engine_loads": "Engines that Python workers loaded.",
    "worker_peak_bytes": "Peak memory of the largest Python worker.",
}


def write_running(folder: Place | None, database: str, figures: Mapping[str, float] | None) -> None:
    """Write the metrics of a run that encodes now, or empty their file at its end.

    The file is `<folder>/catalog_enrichment_<database>_running.prom`. Figures are those of
    `enrich.spark.progress.Progress.figures`; None: the run is over. Never raises: errors are
    logged.
    """
    if folder is None:
        return
    gauges = _Gauges(database)
    for name, value in (figures or {}).items():
        gauges.set(f"encoding_{name}", FIGURES[name], value)
    try:
        content = generate_latest(gauges.registry) if figures else b""
        write_place(folder / f"{PREFIX}_{database}_running.prom", content)
    except OSError as error:
        log.warning("the figures of %s could not be written to %s: %s", database, folder, error)


class _Gauges:
    """Metrics of one database."""

    def __init__(self, database: str) -> None:
        self.registry = CollectorRegistry()
        self._database = database

    def set(self, name: str, text: str, value: float) -> None:
        gauge = Gauge(f"{PREFIX}_{name}", text, ("database",), registry=self.registry)
        gauge.labels(self._database).set(value)

    def set_each(self, name: str, text: str, label: str, values: Mapping[str, float]) -> None:
        gauge = Gauge(f"{PREFIX}_{name}", text, ("database", label), registry=self.registry)
        for one, value in values.items():
            gauge.labels(self._database, one).set(value)


def _add_run(
    gauges: _Gauges, summary: Mapping[str, Any], started_at: datetime, finished_at: datetime
) -> None:
    ended = {outcome.value: float(outcome == summary["outcome"]) for outcome in State}
    gauges.set_each("last_run_outcome", "1 for how the last run ended.", "outcome", ended)
    gauges.set("last_run_start_timestamp_seconds", "When it began.", started_at.timestamp())
    gauges.set("last_run_end_timestamp_seconds", "When it ended.", finished_at.timestamp())
    counts = dict(summary.get("counts", {}))
    abstained = counts.pop("abstained", {})
    inapplicable = counts.pop("not_applicable", {})
    gauges.set_each("last_run_products", "The counts of the run.", "count", counts)
    text = "Products of which the classifier was not sure enough, whatever people say."
    gauges.set_each("last_run_abstained_products", text, "attribute", abstained)
    text = "Products that the attribute makes no sense of, by the classifier."
    gauges.set_each("last_run_not_applicable_products", text, "attribute", inapplicable)
    seconds = summary.get("seconds", {})
    gauges.set_each("last_run_stage_duration_seconds", "Time of a stage.", "stage", seconds)
    if (rate := summary.get("products_per_second")) is not None:
        text = "Products that the classifier was asked about, over the inference stage."
        gauges.set("last_run_products_per_second", text, rate)
    text = "How encoding went: the figures of encoding_... at its end."
    gauges.set_each("last_run_encoding", text, "figure", summary.get("encoding", {}))
    failures = summary.get("validation", {}).get("failures", ())
    gauges.set("last_run_validation_failures", "Failed checks that block.", len(failures))
