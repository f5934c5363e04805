"""Reads labels that people gave products: one row a product, one column an attribute.

Knows nothing of catalogs, tables or classifiers, beyond the labels that it is told.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from enrich.errors import ConfigError, SchemaMismatch, name_some
from enrich.files.spreadsheet import unguard
from enrich.files.tables import read_table, select_text
from enrich.text import REPLACED, fold_label, read_as

KEY = "product_id"


def read_correction_file(file: Path, attribute_labels: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Returns product_id and the attributes' columns that are there, as the checkpoint writes them.

    NULL or an empty text says nothing; rows that say nothing are left out, other columns ignored.
    An apostrophe that keeps an id of a CSV from being a spreadsheet's formula is no part of it.

    Args:
        file: Parquet, CSV or JSON.
        attribute_labels: The checkpoint's labels by attribute; blanks around do not count, nor does
            case where one label alone can be meant.

    Raises:
        ConfigError: the file cannot be read, a label is unknown to the checkpoint, bytes of an id
            are no UTF-8, or a product is corrected twice.
        SchemaMismatch: `product_id` or any attribute column is missing, or nearly an attribute's.
    """
    table = read_table(file)
    corrected = [attribute for attribute in attribute_labels if attribute in table.column_names]
    if not corrected:
        raise SchemaMismatch(
            f"{file} corrects no attribute: it has {', '.join(table.column_names)}; wanted: "
            f"{KEY} and at least one of {', '.join(attribute_labels)}"
        )
    spelled = {attribute.lower(): attribute for attribute in attribute_labels}
    for name in table.column_names:
        meant = spelled.get(name.strip().lower())
        if meant is not None and name not in attribute_labels:
            to_do = (
                f" beside '{meant}'; rename or remove it, labels are read from '{meant}' alone"
                if meant in corrected
                else f"; write '{meant}' for the attribute"
            )
            raise SchemaMismatch(f"{file} has a column '{name}'{to_do}")
    rows = select_text(table, [KEY, *corrected], file).to_pandas()
    if file.suffix.lower() == ".csv":
        rows[KEY] = rows[KEY].map(unguard, na_action="ignore")
    for attribute in corrected:
        rows[attribute] = _as_labels(rows[attribute], attribute_labels[attribute], file)
    rows = rows.dropna(subset=corrected, how="all")
    _refuse_unusable_ids(rows[KEY], file)
    return rows


def _refuse_unusable_ids(ids: pd.Series, file: Path) -> None:
    """Raises ConfigError where labels are nobody's, or a product has several rows of them."""
    if without_id := int((~ids.str.contains(r"\S", na=False)).sum()):
        raise ConfigError(f"{file}: {without_id} rows have a label and no {KEY}")
    damaged = ids[ids.str.contains(REPLACED, regex=False)]
    if len(damaged):
        raise ConfigError(
            f"{file} is not in UTF-8: {KEY} {name_some(damaged)} holds bytes that are no "
            "characters; wanted: UTF-8, which a spreadsheet calls CSV UTF-8"
        )
    twice = ids[ids.duplicated()]
    if len(twice):
        raise ConfigError(
            f"{file} has more than one row of product {name_some(twice)}; wanted: one a product"
        )


def _as_labels(column: pd.Series, labels: Sequence[str], file: Path) -> pd.Series:
    given = column.map(fold_label, na_action="ignore").replace("", None)
    meant = given.map(read_as(labels), na_action="ignore").astype(object)
    unknown = given[given.notna() & meant.isna()]
    if len(unknown):
        raise ConfigError(
            f"{file}: the checkpoint has no {column.name} {name_some(unknown)} ({len(unknown)} "
            f"rows); wanted: {', '.join(labels)}, or nothing"
        )
    return meant
