"""Labels that people gave products, one a row: `product_id, attribute, label[, by, at]`.

Knows nothing of catalogs, tables or classifiers, beyond the labels that it is told.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from enrich.errors import ConfigError, SchemaMismatch, name_some
from enrich.files.spreadsheet import unguard
from enrich.files.tables import read_table, select_text
from enrich.text import fold_label, read_as

KEY = ["product_id", "attribute"]
# Labels of every attribute: it does not apply to the product, or none of its labels fits.
NOT_APPLICABLE, OTHER = "not_applicable", "other"
RESERVED = (NOT_APPLICABLE, OTHER)
_COLUMNS = (*KEY, "label")
_OPTIONAL = ("by", "at")


def read_labels(
    file: Path, attribute_labels: Mapping[str, Sequence[str]], ignored: Collection[str] = ()
) -> pd.DataFrame:
    """Return the columns product_id, attribute, label, by and at, in the order of the file.

    Labels are written as the label sets write them, NULL where the field is empty. `at` is in UTC,
    NULL where it is not given. Blanks around a label do not count, nor do capitals where one label
    alone can be meant.

    Args:
        file: Parquet, CSV or JSON.
        attribute_labels: the label sets.
        ignored: other columns that the file may have, for people.

    Raises:
        ConfigError: the file cannot be read, an attribute, a label or a time is unknown, an id is
            missing, or a product has two rows of one attribute.
        SchemaMismatch: a column is missing or unknown.
    """
    table = read_table(file)
    known = (*_COLUMNS, *_OPTIONAL, *ignored)
    if unknown := [name for name in table.column_names if name not in known]:
        raise SchemaMismatch(
            f"{file} has unknown columns: found {', '.join(unknown)}, expected {', '.join(known)}. "
            "Rename or remove them."
        )
    there = [name for name in (*_COLUMNS, *_OPTIONAL) if name in (*table.column_names, *_COLUMNS)]
    rows = select_text(table, there, file).to_pandas()
    if file.suffix.lower() == ".csv":
        rows["product_id"] = rows["product_id"].map(unguard, na_action="ignore")
    rows["attribute"] = _read_attributes(rows["attribute"], attribute_labels, file)
    for attribute, of_attribute in rows.groupby("attribute"):
        labels = attribute_labels[str(attribute)]
        rows.loc[of_attribute.index, "label"] = _read_labels(of_attribute["label"], labels, file)
    _refuse_unusable_keys(rows, file)
    for name in _OPTIONAL:
        rows[name] = rows[name].replace("", None) if name in rows else None
    rows["at"] = _read_times(rows["at"], file)
    return rows


def _read_attributes(
    column: pd.Series, attribute_labels: Mapping[str, Sequence[str]], file: Path
) -> pd.Series:
    meant = column.map(read_as(attribute_labels), na_action="ignore")
    if meant.isna().any():
        unknown = column[meant.isna()].fillna("")
        raise ConfigError(
            f"{file} names unknown attributes: found {name_some(unknown)} ({len(unknown)} rows), "
            f"expected {', '.join(attribute_labels)}. Correct them, or name the --checkpoint that "
            "has them."
        )
    return meant


def _read_labels(column: pd.Series, labels: Sequence[str], file: Path) -> pd.Series:
    given = column.map(fold_label, na_action="ignore").replace("", None)
    # A label set may have `other` itself.
    known = dict.fromkeys((*labels, *RESERVED))
    meant = given.map(read_as(known), na_action="ignore").astype(object)
    unknown = given[given.notna() & meant.isna()]
    if len(unknown):
        raise ConfigError(
            f"{file} has unknown labels: found {name_some(unknown)} ({len(unknown)} rows), "
            f"expected {', '.join(known)}, or nothing. Correct them."
        )
    return meant


def _refuse_unusable_keys(rows: pd.DataFrame, file: Path) -> None:
    if without_id := int((~rows["product_id"].str.contains(r"\S", na=False)).sum()):
        raise ConfigError(f"{file} has rows without a product_id: found {without_id}, expected 0.")
    twice = rows[rows.duplicated(KEY)]
    if len(twice):
        named = name_some(twice["product_id"] + " " + twice["attribute"])
        raise ConfigError(
            f"{file} labels products twice: found more than one row of {named}, expected one a "
            "product and attribute. Remove all but one."
        )


def _read_times(column: pd.Series, file: Path) -> pd.Series:
    times = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    wrong = column[times.isna() & column.notna()]
    if len(wrong):
        raise ConfigError(
            f"{file} has times in column 'at' that cannot be read: found {name_some(wrong)}, "
            "expected ISO 8601, such as 2026-11-30T14:05:00Z. Correct or remove them."
        )
    return times
