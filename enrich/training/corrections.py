"""Reads the labels that people gave to some products of a shop, and checks them.

A table of product_id and one column an attribute; NULL where nobody said anything. Other columns
are ignored, so that the filled-in table of `--suggest` can be given back. Knows no classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from enrich.errors import ConfigError
from enrich.table_file import read_table, select_text
from enrich.training.losses import UNLABELLED

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Corrections:
    """One row a product that carries a label.

    `targets` is (N, attributes) with the label's index or UNLABELLED.
    """

    product_ids: tuple[str, ...]
    targets: np.ndarray


def read_corrections(
    file: Path, attributes: dict[str, tuple[str, ...]], known_ids: Sequence[str | None]
) -> Corrections:
    """Reads a Parquet, CSV or JSON file of labels.

    Args:
        file: The table; an attribute that it has no column of is unlabelled.
        attributes: Labels in the order of the logits; case and outer spaces do not matter.
        known_ids: The products of the catalog.

    Raises:
        ConfigError: the file cannot be read, names a product twice or one that is not in the
            catalog, holds another label than the attribute's, or none at all.
        SchemaMismatch: there is no column product_id.
    """
    table = read_table(file)
    given = [attribute for attribute in attributes if attribute in table.column_names]
    if not given:
        raise ConfigError(
            f"{file} has no column {' or '.join(attributes)}; it has "
            f"{', '.join(table.column_names)}. Wanted: product_id and one column an attribute"
        )
    table = select_text(table, ["product_id", *given], file)
    ids = table["product_id"].to_pylist()
    _check_ids(ids, known_ids, file)
    targets = np.full((len(ids), len(attributes)), UNLABELLED, dtype=np.int64)
    for column, (attribute, labels) in enumerate(attributes.items()):
        if attribute in given:
            targets[:, column] = _read_labels(table[attribute], attribute, labels, file)
    labelled = np.flatnonzero((targets != UNLABELLED).any(axis=1))
    if not len(labelled):
        raise ConfigError(f"no label in {file}: fill in {' or '.join(given)} of some products")
    return Corrections(tuple(ids[row] for row in labelled), targets[labelled])


def _check_ids(ids: list[str | None], known_ids: Sequence[str | None], file: Path) -> None:
    if empty := ids.count(None):
        raise ConfigError(f"{empty:,} of {len(ids):,} rows of {file} have no product_id")
    seen: set[str | None] = set()
    if twice := [one for one in ids if one in seen or seen.add(one)]:  # type: ignore[func-returns-value]
        raise ConfigError(
            f"{file} has more than one row of {_count(twice, 'product')}; wanted: one each"
        )
    known = set(known_ids)
    if unknown := [one for one in ids if one not in known]:
        raise ConfigError(
            f"{file} names {_count(unknown, 'product')} that the catalog does not have; "
            "is it of this catalog?"
        )


def _read_labels(
    column: pa.ChunkedArray, attribute: str, labels: tuple[str, ...], file: Path
) -> list[int]:
    at = {label.casefold(): place for place, label in enumerate(labels)}
    said = [None if cell is None else cell.strip() for cell in column.to_pylist()]
    # A cell that somebody cleared with a space is as empty as one that never held anything.
    if unknown := sorted({cell for cell in said if cell and cell.casefold() not in at}):
        raise ConfigError(
            f"{file} has {_count(unknown, 'value')} of {attribute} that the checkpoint does not "
            f"know; it knows {', '.join(labels)}. Leave empty what is none of them"
        )
    return [at[cell.casefold()] if cell else UNLABELLED for cell in said]


def _count(found: Sequence[str | None], what: str) -> str:
    """Returns how many there are, and the first few of them."""
    shown = ", ".join(repr(one) for one in found[:_SHOWN])
    more = ", ..." if len(found) > _SHOWN else ""
    return f"{len(found):,} {what}{'s' if len(found) > 1 else ''} ({shown}{more})"
