"""Label baselines, counts that a catalog's answers are expected to resemble.

A baseline is a small JSON file of counts, reviewed like code.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enrich.errors import ConfigError
from enrich.settings_files import Readable, describe_invalid
from pydantic import ValidationError
from schemas.labels import ABSTAINED, NOT_APPLICABLE

from expectations.counts import CatalogCounts, GroupCounts, OtherCategories

# A list of numbers as `json.dumps` lays it out: each of them on a line of its own.
_NUMBERS_ON_LINES = re.compile(r"\[\n\s+([\d,\s]+?)\n\s+\]")

# A new baseline is built from the answers of a run, and a run refuses this one.
_UNTIL_THEN = "Leave `baseline` out of the settings until one of this checkpoint is built"

# Takes the counts of some products; returns their rows by name: by label, say.
CountsNames = Callable[[GroupCounts], Mapping[str, int]]


class LabelBaseline(CatalogCounts):
    """Counts of a catalog that somebody looked at and found sound.

    `model_version` says whose answers were counted; None fits every model. `source` is the table
    and its version, or the run. `other_categories` were counted together as OTHER, and products of
    further ones are expected to look like the whole catalog. None: all further ones count as OTHER.
    """

    catalog: str
    model_version: str | None
    source: str
    other_categories: OtherCategories = None


@dataclass(frozen=True, slots=True)
class Expected:
    """Parts of a baseline with their weights, which sum to one.

    A refresh of shoes alone differs from a catalog of shoes and shirts although nothing is wrong.
    So each category of the baseline has the weight that it has in the run.
    """

    parts: tuple[tuple[float, GroupCounts], ...]

    @property
    def rows(self) -> float:
        """Number of plain rows that tell as much as the weighted ones (Kish 1965).

        A little too high where the whole catalog is one of the parts: it holds the rows of the
        categories that are parts beside it once more.
        """
        return 1 / sum(weight**2 / group.rows for weight, group in self.parts)

    @property
    def attributes(self) -> list[str]:
        """Attributes that every part knows."""
        first, *others = (group.attributes for _, group in self.parts)
        return [name for name in first if all(name in other for other in others)]

    def shares(self, count: CountsNames) -> dict[str, float]:
        """Return the expected share of every name that `count` finds."""
        shares: Counter[str] = Counter()
        for weight, group in self.parts:
            counted = count(group)
            total = max(sum(counted.values()), 1)
            for name, rows in counted.items():
                shares[name] += weight * rows / total  # type: ignore[assignment]
        return {name: float(share) for name, share in shares.items()}

    def answered(self, attribute: str) -> float:
        """Return the expected share of products with a label, in [0, 1]."""
        shares = self.shares(lambda group: group.attributes[attribute].labels)
        return max(1 - shares.get(ABSTAINED, 0.0), 0.0)


def expect_like(
    baseline: CatalogCounts, sizes: Mapping[str | None, int], min_rows: int
) -> Expected:
    """Return the expectations of a baseline for a run's sizes of categories.

    A category of which the baseline has fewer than `min_rows` is expected to look like the whole
    catalog: else a run that is full of that category would be compared with next to nothing.
    `sizes` are products by category, with the single key None without categories.
    """
    known = {name: group for name, group in baseline.categories.items() if group.rows >= min_rows}
    rows = Counter[str | None]()
    for name, count in sizes.items():
        # All unknown categories share one part: one each would count its rows several times.
        rows[name if name in known else None] += count
    total = rows.total()
    return Expected(
        tuple(
            (count / total, baseline.products if name is None else known[name])
            for name, count in rows.items()
        )
    )


def load_baseline(file: Readable) -> LabelBaseline:
    """Read a baseline's file.

    Raises ConfigError if the file is missing, is not JSON, or is not a baseline.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"baseline {file} cannot be read ({error}). Correct the path, or build the file with "
            "`catalog-enrich baseline`"
        ) from error
    try:
        return LabelBaseline.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            f"baseline {file} is not valid: {describe_invalid(error, LabelBaseline)}. Correct it, "
            "or build it anew with `catalog-enrich baseline`"
        ) from error


def save_baseline(baseline: LabelBaseline, path: str | Path) -> None:
    """Write a baseline as JSON, its folder too."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = baseline.model_dump(mode="json")
    origin = {name: content[name] for name in ("catalog", "model_version", "source")}
    text = json.dumps(origin | content, indent=2)
    # On one line a histogram is easy to read, and a change of it is one line of a diff.
    text = _NUMBERS_ON_LINES.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")


def carry_over(
    baseline: LabelBaseline, checkpoint: str, changes: Iterable[tuple[str, Collection[str]]]
) -> LabelBaseline:
    """Return a baseline for a checkpoint that was fitted since, where it holds.

    A fit leaves the answers of other attributes as they were. `checkpoint` is its name and digest,
    as they begin its model_version. `changes` are the same before each fit, and the attributes that
    it changed; the last fit first.
    """
    for before, changed in changes:
        if baseline.model_version is None or set(changed) & set(baseline.products.attributes):
            break
        if baseline.model_version.startswith(f"{before}-"):
            version = checkpoint + baseline.model_version.removeprefix(before)
            return baseline.model_copy(update={"model_version": version})
    return baseline


def refuse_unknown_labels(
    baseline: LabelBaseline, attribute_labels: Mapping[str, Sequence[str]]
) -> None:
    """Refuse a baseline that names what the checkpoint cannot answer.

    A baseline may know less than the checkpoint: an attribute that it lacks is not compared. Raises
    ConfigError if it names an attribute or a label unknown to the checkpoint.
    """
    for group in (baseline.products, *baseline.categories.values()):
        for attribute, counted in group.attributes.items():
            if attribute not in attribute_labels:
                raise ConfigError(
                    f"baseline {baseline.catalog!r} names an unknown attribute: found "
                    f"{attribute!r}, expected one of {', '.join(attribute_labels)}. {_UNTIL_THEN}"
                )
            labels = attribute_labels[attribute]
            if unknown := sorted(set(counted.labels) - set(labels) - {ABSTAINED, NOT_APPLICABLE}):
                raise ConfigError(
                    f"baseline {baseline.catalog!r} names unknown labels of {attribute}: found "
                    f"{', '.join(map(repr, unknown))}, expected some of {', '.join(labels)}. "
                    f"{_UNTIL_THEN}"
                )
