"""One contender in a process of its own: `python -m bench.contender MODULE SETUP`.

Answers on standard output, a line of JSON each: first its stages, or the package that it misses;
then, for each stage's name on standard input, what that took. Whatever libraries print goes to
standard error.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import psutil

from bench.setup import Setup


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
            stage = stages[line.strip()]
            stage.warm()
            spent, begin = sum_cpu_seconds(), time.perf_counter()
            products = stage.run()
            seconds, spent = time.perf_counter() - begin, sum_cpu_seconds() - spent
            figures = {"seconds": seconds, "cpu_seconds": spent, "worker_mb": find_peak_mb()}
            _answer(answers, products=products, **figures)


def sum_cpu_seconds() -> float:
    """Returns what this process and all below it have computed so far, with those that ended."""
    return sum(sum(one.cpu_times()[:4]) for one in _family())


def find_peak_mb() -> int:
    """Returns the most memory that one Python process, this one or one below it, ever had."""
    pythons = [one for one in _family() if "java" not in one.name()]
    return max(_read_peak_mb(one.pid) for one in pythons)


def _family() -> list[psutil.Process]:
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def _read_peak_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    peaks = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    return max(peaks, default=0) * 1_024 // 1_000_000


def _answer(answers: TextIO, **content: Any) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
