"""Stages that take turns, so that whatever else the machine does slows all of them alike."""

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.setup import Setup
from enrich.errors import EnrichError

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the repetitions.

    Attributes:
        cpu_ms_per_product: None where start-up is subtracted: workers may end with a run, and
            cannot be asked any more.
        worker_mb: the largest peak of one Python process that was still there at the end of a run,
            from its warming on. What it holds for other stages is in it: the batches of `forward`
            in `decode` and `engine`, both models in the second stage of a peer on Spark.
        start_up_seconds: what was subtracted from a run, where workers start with it or its
            products are fewer.
    """

    products_per_second: float
    cpu_ms_per_product: float | None
    worker_mb: int
    start_up_seconds: float = 0.0


class Runner:
    """A process that runs the stages of one module of this package when it is told to.

    Where a package that the module needs is not installed, `missing` names it and there are none.
    """

    def __init__(self, module: str, setup: Setup) -> None:
        command = [sys.executable, "-m", "bench.runner", module, setup.model_dump_json()]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=CHECKOUT, text=True, **pipes)  # type: ignore[call-overload]
        greeting = self._hear()
        self.stages: list[str] = greeting.get("stages", [])
        self.missing: str | None = greeting.get("missing")

    def time(self, stage: str) -> dict[str, Any]:
        """Returns what one run of a stage took."""
        self._process.stdin.write(f"{stage}\n")
        self._process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()

    def _hear(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise EnrichError(f"{' '.join(self._process.args[2:4])} ended: see above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure(
    modules: Sequence[str], setup: Setup, repetitions: int, tell: Callable[[str], object]
) -> dict[str, Figures]:
    """Returns the figures of every stage of these modules, by its name.

    Two kinds have no figures, and `tell` is given a line on each: a module whose package is not
    installed, and a stage of whose time nothing is left when start-up is subtracted. One runner
    runs at a time: all of them, with their models, took more than 16 GB.
    """
    runs_of: dict[str, list[dict[str, Any]]] = {}
    present = list(modules)
    for _ in range(repetitions):
        for module in list(present):
            with contextlib.closing(Runner(module, setup)) as runner:
                if runner.missing:
                    tell(f"NOT MEASURED: {module}, because {runner.missing} is not installed")
                    present.remove(module)
                for stage in runner.stages:
                    runs_of.setdefault(stage, []).append(runner.time(stage))
    for stage in [stage for stage, runs in runs_of.items() if _median(runs, "seconds") <= 0]:
        tell(
            f"NOT MEASURED: {stage}, because {setup.products} products are too few beside start-up"
        )
        del runs_of[stage]
    return {stage: _summarise(runs) for stage, runs in runs_of.items()}


def floor_of(figures: dict[str, Figures], *, is_gpu: bool) -> float:
    """Returns the products a second that forward and decoding allow, each measured alone.

    On a CPU they share the cores; on a GPU the slower of the two is the limit.
    """
    forward, decode = (figures[name].products_per_second for name in ("forward", "decode"))
    return min(forward, decode) if is_gpu else 1 / (1 / forward + 1 / decode)


def _summarise(runs: list[dict[str, Any]]) -> Figures:
    knows_cpu = all(run["cpu_seconds"] is not None for run in runs)
    return Figures(
        products_per_second=1 / _median(runs, "seconds"),
        cpu_ms_per_product=1_000 * _median(runs, "cpu_seconds") if knows_cpu else None,
        worker_mb=max(run["worker_mb"] for run in runs),
        start_up_seconds=statistics.median(run["start_up_seconds"] for run in runs),
    )


def _median(runs: list[dict[str, Any]], name: str) -> float:
    """Returns the median over the runs of a figure divided by the run's products."""
    return statistics.median(run[name] / run["products"] for run in runs)
