"""Progress of encoding while it runs: contents done, speed, and remaining time.

Python workers count their work in an accumulator, whose value the driver sees as each task ends. A
thread of the driver samples it, and Spark's own counts of tasks. It logs a line every half minute,
also without a terminal, and writes a file for Prometheus every 15 seconds.
"""

import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from pyspark import Accumulator, AccumulatorParam
from pyspark.sql import SparkSession

from enrich.spark.session import count_tasks, open_accumulator

log = logging.getLogger("enrich")

_SAMPLE_S = 1.0
_FILE_S = 15.0
_LINE_S = 30.0


class Work(NamedTuple):
    """Work of a Python worker: engines loaded, contents encoded, peak memory in bytes."""

    loads: int = 0
    contents: int = 0
    peak_bytes: int = 0


class WorkByWorker(AccumulatorParam[dict[str, Work]]):
    """Sum of work by Python worker."""

    def zero(self, value: dict[str, Work]) -> dict[str, Work]:
        return {}

    def addInPlace(self, left: dict[str, Work], right: dict[str, Work]) -> dict[str, Work]:  # noqa: N802
        for worker, more in right.items():
            had = left.get(worker, Work())
            left[worker] = Work(
                had.loads + more.loads,
                had.contents + more.contents,
                max(had.peak_bytes, more.peak_bytes),
            )
        return left


def add_work(works: Accumulator[dict[str, Work]], *, loads: int = 0, contents: int = 0) -> None:
    """Add this Python worker's work to the accumulator. Runs on the executor."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    works.add({f"{os.uname().nodename}:{os.getpid()}": Work(loads, contents, peak_bytes)})


@dataclass(slots=True)
class Progress:
    """The pace of a run's encoding; samples while it is entered.

    Args:
        asked: contents that are to be encoded.
        on_progress: given the figures every 15 seconds, and None at the end.
        committed: contents of chunks that have ended. A remote session counts only these.
    """

    spark: SparkSession
    asked: int
    on_progress: Callable[[Mapping[str, float] | None], None] = lambda figures: None
    works: Any = None
    committed: int = 0
    _begin: float = 0.0
    _seconds: float = 0.0
    _samples: int = 0
    _busy: int = 0
    _active: int = 0
    _failed: dict[tuple[int, int], int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        """Open the accumulator that workers add to."""
        self.works = open_accumulator(self.spark, {}, WorkByWorker())

    def __enter__(self) -> Self:
        """Begin to sample."""
        self._begin = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="pace", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End sampling."""
        self._seconds = time.monotonic() - self._begin
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.on_progress(None)

    @property
    def engine_loads(self) -> dict[str, int]:
        """Number of engines that each Python worker has loaded."""
        return {worker: work.loads for worker, work in self._by_worker().items() if work.loads}

    @property
    def figures(self) -> dict[str, float]:
        """Figures by name, as metrics and `run_events` have them."""
        by_worker = self._by_worker()
        done = max(self.committed, sum(work.contents for work in by_worker.values()))
        seconds = self._seconds or time.monotonic() - self._begin
        peaks = [work.peak_bytes for work in by_worker.values()]
        return {
            "asked": float(self.asked),
            "done": float(done),
            "per_second": round(done / seconds, 1) if seconds else 0.0,
            "slots_busy": round(self._busy / self._samples, 2) if self._samples else 0.0,
            "task_retries": float(sum(self._failed.values())),
            "engine_loads": float(sum(work.loads for work in by_worker.values())),
            "worker_peak_bytes": float(max(peaks, default=0)),
        }

    def at_full_load(self, slots: int) -> float:
        """Return contents a second as if all slots had been busy since the start."""
        figures = self.figures
        busy = figures["slots_busy"]
        return figures["per_second"] * max(1.0, slots / busy) if busy else 0.0

    def _by_worker(self) -> dict[str, Work]:
        # Copied: the accumulator's thread writes to it.
        return dict(self.works.value)

    def _watch(self) -> None:
        said_at = told_at = self._begin
        while not self._over.wait(_SAMPLE_S):
            # A sample that fails, as while Spark ends, is one less.
            with suppress(Exception):
                self._sample()
            now = time.monotonic()
            if now - told_at >= _FILE_S:
                told_at = now
                self.on_progress(self.figures | {"slots_busy": float(self._active)})
            if now - said_at >= _LINE_S:
                said_at = now
                figures = self.figures
                seconds = round(now - self._begin, 1)
                line = describe_progress(figures["done"], self.asked, seconds, self._active)
                counts = {"done": int(figures["done"]), "asked": self.asked}
                log.info(
                    "%s", line, extra={"stage": "encode", "seconds": seconds, "counts": counts}
                )

    def _sample(self) -> None:
        self._active, failed = count_tasks(self.spark)
        self._samples += 1
        self._busy += self._active
        # The last count of each stage attempt replaces earlier ones.
        self._failed |= failed


def describe_progress(done: float, asked: int, seconds: float, active: int) -> str:
    """Return the progress of encoding, for people, with an estimate of its end.

    The estimate is by the mean speed since the start; there is none before the first task ends.
    """
    encoded = f"encoded {done:,.0f} of {asked:,} contents"
    if not done or not seconds:
        return f"{encoded} in {_format_time(seconds)}, tasks at work: {active}"
    speed = done / seconds
    left = max(asked - done, 0) / speed
    pace = f"{speed:,.0f} a second, about {_format_time(left)} left"
    return f"{encoded}, {pace}, tasks at work: {active}"


def _format_time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
