"""One runner in a process of its own: `python -m bench.runner MODULE SETUP`.

Answers on standard output, a line of JSON each: first its stages, or the package that it misses;
then, for each stage's name on standard input, what that took. Whatever libraries print goes to
standard error.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import psutil

from bench.setup import Setup
from bench.stage import Stage

Figure = TypeVar("Figure")


def main() -> None:
    """Serves until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, setup = sys.argv[1], Setup.model_validate_json(sys.argv[2])
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        _answer(answers, missing=error.name)
        return
    with module.open_stages(setup) as stages:
        _answer(answers, stages=list(stages))
        for line in sys.stdin:
            _answer(answers, **measure(stages[line.strip()]))


def measure(stage: Stage) -> dict[str, float | None]:
    """Returns what one run of a stage took; what it takes to start is subtracted."""
    forget_peaks()
    stage.warm()
    start_up, run = _time(stage.start_up), _time(stage.run)
    took: dict[str, float | None] = {name: run[name] - start_up[name] for name in run}
    if start_up["products"]:
        # A worker that ends between two readings may have its CPU seconds counted in either, so
        # they are not reported.
        took["cpu_seconds"] = None
    return took | {"start_up_seconds": start_up["seconds"], "worker_mb": find_peak_mb()}


def _time(work: Callable[[], int]) -> dict[str, float]:
    spent, begin = sum_cpu_seconds(), time.perf_counter()
    products = work()
    seconds = time.perf_counter() - begin
    return {"products": products, "seconds": seconds, "cpu_seconds": sum_cpu_seconds() - spent}


def sum_cpu_seconds() -> float:
    """Returns what this process and all below it have computed so far, with those that ended."""
    return sum(_of_family(lambda process: sum(process.cpu_times()[:4])))


def forget_peaks() -> None:
    """Lets the peak of this process, and of all below it, begin with what each of them has now."""
    _of_family(lambda process: _forget_peak(process.pid))


def find_peak_mb() -> int:
    """Returns the most memory that one Python process, this one or one below it, has had.

    Since `forget_peaks`, of those that were there.
    """
    return max(_of_family(lambda p: 0 if "java" in p.name() else _read_peak_mb(p.pid)))


def _of_family(read: Callable[[psutil.Process], Figure]) -> list[Figure]:
    """Returns what is read of this process and of all below it that do not end meanwhile."""
    this, figures = psutil.Process(), []
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            figures.append(read(process))
    return figures


def _forget_peak(pid: int) -> None:
    # One that has ended, and that nobody has waited for, is no longer its owner's.
    with contextlib.suppress(PermissionError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _read_peak_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    peaks = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    return max(peaks, default=0) * 1_024 // 1_000_000


def _answer(answers: TextIO, **content: Any) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
