"""Figures of answers with intervals over groups of products and over seeds.

Whole groups are drawn with replacement, never single rows: the near-identical products of a group
repeat each other (Field and Welsh 2007, the cluster bootstrap). Each draw gets the noise of a mean
over so many seeds. How much seeds differ is pooled over the systems that have several, and counts
for those that have one. All rows share the draws, so that a difference is taken on the same
products.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.calibration import DEFAULT_TARGET_PRECISION
from enrich.training.answers import CalibratedAnswers, once, recall_at_precision
from enrich.training.batches import Condition

# With fewer groups the draws are too alike. A 95 % interval holds the truth in 90 to 92 % of all
# cases with 20 groups, and in 86 to 89 % with ten. With one group its width is 0.
LEAST_GROUPS = 20
_SEED = 0
ACCURACY, FOUND, KEPT = "accuracy", "found", "kept"


class ScoredAnswers(NamedTuple):
    """Answers to the labelled rows of one source, condition and attribute.

    Attributes:
        confidence: in [0, 1].
        right: whether the answer is the label.
        given: whether it is given at a target precision of 90 %.
        group: number of each row's group of near-identical products.
    """

    confidence: Float[Tensor, " N"]
    right: Bool[Tensor, " N"]
    given: Bool[Tensor, " N"]
    group: Int[Tensor, " N"]

    @classmethod
    def of(cls, answers: CalibratedAnswers) -> "ScoredAnswers":
        """Return calibrated answers as right or wrong, given or not."""
        confidence, best = answers.probs.max(1)
        given = confidence >= answers.thresholds[DEFAULT_TARGET_PRECISION]
        return cls(confidence, best == answers.of.targets, given, answers.of.groups.contiguous())


Key = tuple[str, str, str]  # source, condition, attribute
Run = Mapping[Key, ScoredAnswers]


class Column(NamedTuple):
    """A column of a table: products under one condition, and an attribute of them."""

    source: str
    condition: Condition
    attribute: str

    @property
    def key(self) -> Key:
        """The column's place in a run."""
        return self.source, self.condition.value, self.attribute

    @property
    def heading(self) -> str:
        """The column's heading, without the attribute."""
        if self.condition is Condition.AS_IS:
            return self.source
        is_silent = self.condition is Condition.WORDS_MASKED
        return f"{self.source}, {'silent' if is_silent else self.condition.value}"


class Estimate(NamedTuple):
    """A figure with its draws."""

    value: float
    draws: Float[Tensor, " R"]

    def less(self, other: "Estimate") -> "Estimate":
        """Return the difference, on the same draws."""
        return Estimate(self.value - other.value, self.draws - other.draws)

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval; nan of fewer than LEAST_GROUPS groups."""
        return interval(self.draws)

    @property
    def is_significant(self) -> bool:
        """True if the interval leaves out zero."""
        low, high = self.bounds
        return low > 0 or high < 0


class Measures:
    """Figures of systems with intervals, from one run or more of each.

    `fixed` are systems without a seed.
    """

    def __init__(self, runs: Mapping[str, Sequence[Run]], fixed: Sequence[str], draws: int) -> None:
        self.runs = runs
        self._fixed = fixed
        self._count = draws
        self._draws: dict[str, tuple[np.ndarray, Float[Tensor, "R G"]]] = {}
        self._known: dict[tuple[str, Column, str], tuple[list[float], Tensor]] = {}
        self._spreads: dict[tuple[Column, str], float] = {}

    def columns(self) -> list[Column]:
        """Return all columns that have answers, in the order of the sources."""
        return list(dict.fromkeys(Column(s, Condition(c), a) for s, c, a in self._any_run()))

    def estimate(self, name: str, column: Column, figure: str = ACCURACY) -> Estimate:
        """Return a figure of a system in a column.

        Args:
            name: the system.
            column: the products.
            figure: `ACCURACY`; `FOUND`, the share of all products that are answered right above
                the lowest threshold of 90 % precision on these very products; or `KEPT`, the share
                of right ones among the answers that are given at a target precision of 90 %.
        """
        values, draws = self._measure(name, column, figure)
        spread = 0.0 if name in self._fixed else self._spread(column, figure)
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(len(draws), generator=generator)
        return Estimate(fmean(values), draws + noise * spread / len(values) ** 0.5)

    def given(self, name: str, column: Column) -> float:
        """Return the share that is given at a target precision of 90 %."""
        runs = (run[column.key] for run in self.runs[name])
        return fmean(one.given.float().mean().item() for one in runs)

    def _measure(
        self, name: str, column: Column, figure: str
    ) -> tuple[list[float], Float[Tensor, " R"]]:
        """Return a figure of each seed, and the draws of their mean."""
        known = (name, column, figure)
        if known not in self._known:
            scored = [run[column.key] for run in self.runs[name]]
            groups, draws = self._draw(column.source)
            weights = draws[:, np.searchsorted(groups, scored[0].group.numpy())]
            values = [measure(one, figure, once(len(one.right)).float()).item() for one in scored]
            mean = torch.stack([measure(one, figure, weights) for one in scored]).mean(0)
            if any(_count_groups(one, figure) < LEAST_GROUPS for one in scored):
                mean = torch.full_like(mean, math.nan)
            self._known[known] = (values, mean)
        return self._known[known]

    def _any_run(self) -> Run:
        return next(iter(self.runs.values()))[0]

    def _draw(self, source: str) -> tuple[np.ndarray, Float[Tensor, "R G"]]:
        """Return the labelled groups of a source, and the draws that all systems share."""
        if source not in self._draws:
            here = [one.group.numpy() for key, one in self._any_run().items() if key[0] == source]
            groups = np.unique(np.concatenate(here))
            self._draws[source] = groups, draw_groups(len(groups), self._count)
        return self._draws[source]

    def _spread(self, column: Column, figure: str) -> float:
        """Return the pooled standard deviation of a figure over seeds."""
        if (column, figure) not in self._spreads:
            several = [name for name, runs in self.runs.items() if len(runs) > 1]
            found = [self._measure(name, column, figure)[0] for name in several]
            squares = [np.var(values, ddof=1) for values in found]
            # A system without answers has no precision, and shows nothing about seeds.
            known = [one for one in squares if not math.isnan(one)]
            self._spreads[column, figure] = float(np.mean(known)) ** 0.5 if known else 0.0
        return self._spreads[column, figure]


def _count_groups(scored: ScoredAnswers, figure: str) -> int:
    return len((scored.group[scored.given] if figure == KEPT else scored.group).unique())


def measure(
    scored: ScoredAnswers, figure: str, weights: Float[Tensor, "R N"]
) -> Float[Tensor, " R"]:
    """Return a figure of `Measures.estimate` for each weighting; nan without a row."""
    right = scored.right.float()
    if figure == FOUND:
        return recall_at_precision(scored.confidence, scored.right, 0.90, weights)
    if figure == KEPT:
        return weights @ (scored.given * right) / (weights @ scored.given.float())
    return weights @ right / weights.sum(1)


def draw_groups(groups: int, replicates: int) -> Float[Tensor, "R G"]:
    """Draw groups with replacement: how often each one, rows summing to `groups`."""
    rng = np.random.default_rng(_SEED)
    drawn = (rng.integers(0, groups, groups) for _ in range(replicates))
    counts = np.stack([np.bincount(one, minlength=groups) for one in drawn])
    return torch.from_numpy(counts).float()


def interval(values: Float[Tensor, " R"]) -> tuple[float, float]:
    """Return Efron's percentile interval, 2.5 to 97.5 %, undefined draws left out."""
    low, high = values.nanquantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high
