"""What every reader returns. Knows no layout."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import pandas as pd


class Split(IntEnum):
    """What a product is for; a data set may have been published with it."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Products as their layout holds them; all lists have the same length.

    `image_paths` start from `root`. `groups` name near-identical products alike. `labels` maps an
    attribute to the products' labels, None where one has none. `split` is None where the data set
    was published without one.
    """

    root: Path
    titles: list[str | None]
    descriptions: list[str | None]
    image_paths: list[str | None]
    groups: list[str]
    labels: dict[str, list[str | None]]
    split: list[Split] | None = None

    def __len__(self) -> int:
        return len(self.titles)


def as_texts(column: pd.Series) -> list[str | None]:
    """Returns a column's values as text, None where one is missing or empty."""
    return [None if value is pd.NA else value or None for value in column.astype("string")]
