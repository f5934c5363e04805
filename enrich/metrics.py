"""Prometheus metrics of a database's last run and of one that encodes now.

They are text files for the textfile collector of node_exporter: a run is over too soon to be
scraped itself. They are made of a run's summary. No run fails by its metrics.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from schemas.tables import SUCCEEDED, State

from enrich.files.atomic_write import write_place
from enrich.places import Place

log = logging.getLogger(__name__)

PREFIX = "catalog_enrichment"
_LAST_SUCCESS = "last_success_timestamp_seconds"


@dataclass(slots=True)
class Recording:
    """A command's summary of a run, for its metrics.

    `summary` is a `RunSummary`, None before there is one. `is_news` is false where an earlier
    command had decided about the run already.
    """

    summary: Any = None
    is_news: bool = True


@contextmanager
def recorded(folder: Place | None, database: str, *, decides: bool = False) -> Iterator[Recording]:
    """Write the metrics of the run inside, however it ends.

    An error makes it a failed run. Where the block ends well without a summary, the file stays
    as it is.

    Args:
        folder: The folder of node_exporter's `--collector.textfile.directory`; None writes no file.
        database: The run's database.
        decides: True if the block decides about an earlier run. Its failure, such as a mistyped
            command, is then told only where the file says that a run is staged and waits. Otherwise
            the last run is still what it was.
    """
    started_at, recording, has_failed = datetime.now(UTC), Recording(), False
    try:
        yield recording
    except BaseException:
        has_failed = True
        raise
    finally:
        is_silent = (
            has_failed
            and decides
            and not (folder is not None and _says_staged(_name_file(folder, database)))
        )
        has_news = has_failed or (recording.summary is not None and recording.is_news)
        if folder is not None and has_news and not is_silent:
            said = {} if recording.summary is None else dataclasses.asdict(recording.summary)
            summary = said | ({"outcome": State.FAILED} if has_failed else {})
            write_metrics(folder, database, summary, started_at, datetime.now(UTC))


def write_metrics(
    folder: Place,
    database: str,
    summary: Mapping[str, Any],
    started_at: datetime,
    finished_at: datetime,
) -> None:
    """Write the metrics of a run to `catalog_enrichment_<database>.prom` atomically.

    Never raises: errors are logged.

    Args:
        folder: As of `recorded`.
        database: The run's database.
        summary: Fields of `RunSummary`, as far as the run got.
        started_at: Start of the run, with a time zone.
        finished_at: End of the run, with a time zone.
    """
    try:
        file = _name_file(folder, database)
        gauges = _Gauges(database)
        _add_run(gauges, summary, started_at, finished_at)
        is_success = summary["outcome"] in SUCCEEDED
        succeeded_at = finished_at.timestamp() if is_success else _read_last_success(file)
        text = "When a run last published or found nothing to do; 0 before the first time."
        gauges.set(_LAST_SUCCESS, text, succeeded_at)
        write_place(file, generate_latest(gauges.registry))
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

    The file is `<folder>/catalog_enrichment_<database>_running.prom`.

    Never raises: what went wrong is logged.

    Args:
        folder: As of `recorded`.
        database: What the run is for.
        figures: As `enrich.spark.progress.Progress.figures`; None: it is over.
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
    gauges.set_each("last_run_products", "Rows of the product table by fate.", "fate", counts)
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


def _name_file(folder: Place, database: str) -> Place:
    return folder / f"{PREFIX}_{database}.prom"


def _read_last_success(file: Place) -> float:
    """Return the time of the last success in the file, kept by failed runs."""
    samples = _read_samples(file, _LAST_SUCCESS)
    # A catalog that was never refreshed is stale too.
    return samples[0].value if samples else 0.0


def _says_staged(file: Place) -> bool:
    outcomes = _read_samples(file, "last_run_outcome")
    return any(one.labels.get("outcome") == State.STAGED and one.value == 1 for one in outcomes)


def _read_samples(file: Place, metric: str) -> list[Sample]:
    try:
        families = list(text_string_to_metric_families(file.read_text()))
    except (OSError, ValueError):
        return []  # the first run, or a file that somebody damaged and that is replaced
    return [s for one in families if one.name == f"{PREFIX}_{metric}" for s in one.samples]
