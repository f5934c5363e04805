"""Draws runs from known answers and asks the gate about each: how often does it stop one?

Knows nothing of what is wrong with a broken run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill.answers import DrawnAnswers, Places
from expectations.drill.in_arrays import build_baseline, check_answers
from expectations.settings import ValidationSettings
from expectations.summary import OTHER

# A drill that is repeated draws the same runs.
SEED = 2026


@dataclass(frozen=True, slots=True)
class Case:
    """Answers to draw runs from, and what was published of the same products before."""

    answers: DrawnAnswers
    before: DrawnAnswers | None = None

    def check(
        self, rows: Places, baseline: LabelBaseline, settings: ValidationSettings
    ) -> list[Check]:
        """Returns the gate's checks of a run of those rows."""
        before = None if self.before is None else self.before.take(rows)
        return check_answers(self.answers.take(rows), baseline, settings, before)


def is_stopped(checks: Sequence[Check]) -> bool:
    """Returns whether nothing of a run would be published."""
    return any(check.blocks for check in checks)


def measure_false_alarms(
    sound: DrawnAnswers, size: int, baseline_size: int, runs: int, settings: ValidationSettings
) -> float:
    """Returns the share of sound runs that are stopped; run and baseline share no product."""
    rng = np.random.default_rng([SEED, size])
    stopped = 0
    for _ in track(range(runs), f"sound runs of {size:,}", console=Console(stderr=True)):
        order = rng.permutation(len(sound))
        baseline = build_baseline(sound.take(order[-baseline_size:]))
        stopped += is_stopped(check_answers(sound.take(order[:size]), baseline, settings))
    return stopped / runs


def measure_false_alarms_by_category(
    sound: DrawnAnswers,
    sizes: Sequence[int],
    baseline_size: int,
    runs: int,
    settings: ValidationSettings,
) -> dict[int, float]:
    """Returns the share of sound runs of one category that are stopped, by size.

    Baselines are of the whole catalog. A category that has fewer products than a run gives all that
    the baseline left of it.
    """
    assert sound.categories is not None
    names = [name for name in sound.categories.categories if name != OTHER]
    stopped = dict.fromkeys(sizes, 0)
    for number in range(runs):
        order = np.random.default_rng([SEED, number]).permutation(len(sound))
        baseline = build_baseline(sound.take(order[-baseline_size:]))
        run = order[:-baseline_size]
        run = run[sound.categories[run] == names[number % len(names)]]
        for size in sizes:
            stopped[size] += is_stopped(check_answers(sound.take(run[:size]), baseline, settings))
    return {size: n / runs for size, n in stopped.items()}


def measure_detection(
    case: Case, size: int, baseline: LabelBaseline, runs: int, settings: ValidationSettings
) -> float:
    """Returns the share of faulty runs that are stopped; a run may hold a product twice."""
    rng = np.random.default_rng([SEED, size])
    drawn = (rng.integers(len(case.answers), size=size) for _ in range(runs))
    return sum(is_stopped(case.check(rows, baseline, settings)) for rows in drawn) / runs
