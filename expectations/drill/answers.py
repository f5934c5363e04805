"""Answers that runs are drawn from, as arrays: a drill asks the gate thousands of times.

Knows nothing of where answers come from or which faults they have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from schemas.labels import ABSTAINED
from schemas.tables import select_attributes

from expectations.summary import OTHER

Places = NDArray[np.int64]


def encode(values: Sequence[str | None], missing: str) -> pd.Categorical:
    """Returns a column of names; None becomes `missing`."""
    return pd.Categorical([missing if v is None else v for v in values])


def count(column: pd.Categorical) -> dict[str, int]:
    """Returns the rows by name, of names that occur."""
    return {str(name): int(n) for name, n in column.value_counts().items() if n}


def count_labels(column: pd.Categorical) -> dict[str, int]:
    """Returns the rows by label, of labels that occur; abstentions are left out."""
    return {label: n for label, n in count(column).items() if label != ABSTAINED}


@dataclass(frozen=True, slots=True)
class DrawnAnswers:
    """Answers to some products; labels have `ABSTAINED` where the classifier abstained.

    Attributes:
        categories: None where the catalog has none.
    """

    model_version: str
    labels: Mapping[str, pd.Categorical]
    confidences: Mapping[str, NDArray[np.float64]]
    modalities: pd.Categorical
    categories: pd.Categorical | None = None

    def __len__(self) -> int:
        return len(self.modalities)

    def take(self, rows: Places) -> "DrawnAnswers":
        """Returns the answers of those rows."""
        return DrawnAnswers(
            self.model_version,
            {a: column.take(rows) for a, column in self.labels.items()},
            {a: values[rows] for a, values in self.confidences.items()},
            self.modalities.take(rows),
            None if self.categories is None else self.categories.take(rows),
        )


def read_answers(
    model_version: str, table: pa.Table, categories: pd.Categorical | None = None
) -> DrawnAnswers:
    """Returns a table's answers.

    Args:
        model_version: whose answers they are.
        table: modalities and, for every attribute `a`, `a` and `a_confidence`; one row a product.
        categories: of the same products in the same order.
    """
    attributes = select_attributes(table.column_names)
    return DrawnAnswers(
        model_version,
        {a: encode(table[a].to_pylist(), ABSTAINED) for a in attributes},
        {a: table[f"{a}_confidence"].to_numpy().astype(float) for a in attributes},
        encode(table["modalities"].to_pylist(), "none"),
        categories,
    )


def group_categories(categories: Sequence[str | None], min_share: float) -> pd.Categorical:
    """Returns the categories, those with a smaller share of the products as `OTHER`."""
    names = encode(categories, OTHER)
    large = {name for name, n in count(names).items() if n >= min_share * len(categories)}
    return encode([name if name in large else OTHER for name in names], OTHER)
