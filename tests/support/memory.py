"""The most memory that this process, or a child of it, has held for a while, in MB (10^6 bytes)."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def reset_peak() -> None:
    """Forgets the peak so far."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Returns the largest resident set since `reset_peak`, in MB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1_024 / 1_000_000


@contextmanager
def watch_children(every_s: float = 0.2) -> Iterator[Counter[str]]:
    """Yields the largest resident set of a child so far, in MB: of Java, of Spark's Python.

    A child that has just been forked is none yet: it still has the memory of this process.
    """
    largest: Counter[str] = Counter()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every_s):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    is_worker = "pyspark.daemon" in child.cmdline()
                    name = "python" if is_worker else child.name()
                    largest[name] = max(largest[name], child.memory_info().rss // 1_000_000)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield largest
    finally:
        ended.set()
        thread.join()
