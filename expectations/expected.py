"""What a baseline leads to expect of a run: the baseline's shares, in the run's mix of categories.

A refresh of shoes alone differs from a catalog of shoes and shirts without anything being wrong.
Where both know categories, each category's share of the baseline is weighted as the run has it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from schemas.labels import ABSTAINED

from expectations.chance import Numbers
from expectations.summary import AttributeSummary, CatalogSummary, GroupSummary

# Takes the summary of some products; returns their rows by label, or by what their answers rest on.
CountsNames = Callable[[GroupSummary], Mapping[str, int]]


def labels_of(attribute: str) -> CountsNames:
    """Returns the function that takes an attribute's label counts, abstentions among them."""
    return lambda group: group.attributes[attribute].labels


class AnsweredConfidence(NamedTuple):
    """Confidence of the answered rows, and on how many it rests."""

    mean: float
    sd: float
    rows: float


@dataclass(frozen=True, slots=True)
class Expected:
    """A mixture of parts of a baseline with their weights, which sum to one."""

    parts: tuple[tuple[float, GroupSummary], ...]

    @property
    def rows(self) -> float:
        """How many plain rows are as telling as the weighted ones (Kish 1965).

        A little too many where the whole catalog is one of the parts: it holds the rows of the
        categories that are parts beside it once more.
        """
        return 1 / sum(weight**2 / group.rows for weight, group in self.parts)

    def has(self, attribute: str) -> bool:
        """Returns whether every part knows the attribute."""
        return all(attribute in group.attributes for _, group in self.parts)

    def shares(self, count: CountsNames) -> dict[str, float]:
        """Returns the expected share of every name that `count` finds in a part."""
        counted = [count(group) for _, group in self.parts]
        names = list(dict.fromkeys(name for counts in counted for name in counts))
        mixed = self._mix([counts.get(name, 0) for name in names] for counts in counted)
        return dict(zip(names, map(float, mixed), strict=True))

    def abstained(self, attribute: str) -> float:
        """Returns the expected share of abstentions."""
        return min(self.shares(labels_of(attribute)).get(ABSTAINED, 0.0), 1.0)

    def confidence_shares(self, attribute: str) -> Numbers:
        """Returns the expected share of each confidence bin."""
        return self._mix(summary.confidences for summary in self._summaries(attribute))

    def answered(self, attribute: str) -> AnsweredConfidence | None:
        """Returns the expected confidence of answered rows, None where the baseline has none."""
        known = [
            (weight * summary.answered / group.rows, summary.answered_mean, summary.answered_sd)
            for (weight, group), summary in zip(self.parts, self._summaries(attribute), strict=True)
            if summary.answered_mean is not None
        ]
        if not known:
            return None
        shares, means, sds = (np.array(column, dtype=float) for column in zip(*known, strict=True))
        weights = shares / shares.sum()
        mean = weights @ means
        variance = weights @ (sds**2 + (means - mean) ** 2)
        return AnsweredConfidence(float(mean), float(variance**0.5), shares.sum() * self.rows)

    def _summaries(self, attribute: str) -> list[AttributeSummary]:
        return [group.attributes[attribute] for _, group in self.parts]

    def _mix(self, counts: Iterable[Iterable[int]]) -> Numbers:
        weighted = [
            weight * np.array(count, dtype=float) / max(sum(count), 1)
            for (weight, _), count in zip(self.parts, map(tuple, counts), strict=True)
        ]
        return np.sum(weighted, axis=0)


def expect_like(baseline: CatalogSummary, run: CatalogSummary, min_rows: int) -> Expected:
    """Returns what the baseline leads to expect of all of a run's products.

    A category of which the baseline has fewer than `min_rows` is expected to look like the whole
    catalog: a run that is full of it would else be held against next to nothing.
    """
    if not baseline.categories or not run.categories:
        return Expected(((1.0, baseline.products),))
    known = {name: group for name, group in baseline.categories.items() if group.rows >= min_rows}
    rows = Counter[str | None]()
    for name, group in run.categories.items():
        # All categories that are not known share one part, the whole catalog: one part for each of
        # them would count its rows several times.
        rows[name if name in known else None] += group.rows
    return Expected(
        tuple(
            (count / run.products.rows, baseline.products if name is None else known[name])
            for name, count in rows.items()
        )
    )
