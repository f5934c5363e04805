"""Labels that people gave products, in the one format of all jobs.

A file has a row per label (`product_id, attribute, label`, and optionally `by` and `at`), or a row
per product with a column per attribute. The review page writes the first, spreadsheets tend to the
second. The module knows neither catalogs, tables nor classifiers.
"""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
from schemas.labels import RESERVED

from enrich.errors import ConfigError, SchemaMismatch, name_some
from enrich.files.tables import format_of, read_table, select_text, unguard
from enrich.text import REPLACED, fold_label, read_as

KEY = ["product_id", "attribute"]
# Who gave a label, and when.
ABOUT = ("by", "at")
COLUMNS = (*KEY, "label", *ABOUT)
# What stands beside labels for people, in files that jobs wrote to be filled in.
FOR_PEOPLE = ("title", "description", "image_path", "category", "note")


def read_labels(
    file: Path, attribute_labels: Mapping[str, Sequence[str]], open_to: Container[str] = ()
) -> pd.DataFrame:
    """Return product_id, attribute, label, by and at of each label in a file.

    The file is Parquet, CSV or JSON. Labels are spelled as the checkpoint spells them in
    `attribute_labels`; RESERVED ones go with each attribute. Of attributes in `open_to` other
    labels are kept, spelled as most rows spell them. `by` is None and `at` (UTC) is NaT where the
    file does not say. Surrounding blanks are ignored, and so is case where one label alone can be
    meant. A NULL or empty label is skipped. An apostrophe that keeps an id of a CSV from being a
    spreadsheet's formula is removed.

    Raises ConfigError if the file cannot be read, an attribute, label or time is unknown, an id is
    not UTF-8, or a product has two labels of an attribute, and SchemaMismatch if a column is
    missing or unknown.
    """
    table = read_table(file)
    rows = _as_rows(table, attribute_labels, file)
    if format_of(file) == "csv":
        rows["product_id"] = rows["product_id"].map(unguard, na_action="ignore")
    for name in ("attribute", "label", "by"):
        folded = [(isinstance(text, str) and fold_label(text)) or None for text in rows[name]]
        rows[name] = pd.Series(folded, rows.index, dtype=object)
    rows = rows[rows["label"].notna()].reset_index(drop=True)
    rows["attribute"] = _spell(
        rows["attribute"].fillna(""), tuple(attribute_labels), f"{file}: attribute"
    )
    for attribute, given in rows.groupby("attribute", sort=False)["label"]:
        known = (*attribute_labels[str(attribute)], *RESERVED)
        if attribute in open_to:
            new = given[given.map(read_as(known)).isna()].value_counts().index
            known += tuple({label.casefold(): label for label in reversed(new)}.values())
        rows.loc[given.index, "label"] = _spell(given, known, f"{file}: {attribute}")
    rows["at"] = _as_times(rows["at"], file)
    _refuse_unusable_ids(rows, file)
    return rows


def _as_rows(
    table: pa.Table, attribute_labels: Mapping[str, Sequence[str]], file: Path
) -> pd.DataFrame:
    """Return a row a label, as texts; a label is NULL where a field is."""
    columns = table.column_names
    is_long = "attribute" in columns and "label" in columns
    known = COLUMNS if is_long else ("product_id", *attribute_labels, *ABOUT)
    unread = [name for name in columns if name in FOR_PEOPLE]
    attributes = [name for name in columns if name in attribute_labels]
    unknown = [name for name in columns if name not in known and name not in unread]
    if unknown or not (is_long or attributes):
        found = f"a column {name_some(unknown)}" if unknown else ", ".join(columns) or "no column"
        if len(columns) == 1 and ";" in columns[0]:
            raise SchemaMismatch(
                f"{file} cannot be read as labels: found semicolons between its columns, expected "
                "commas. Save it as CSV with commas"
            )
        raise SchemaMismatch(
            f"{file} cannot be read as labels: found {found}, expected {', '.join(COLUMNS)}, or "
            f"product_id and a column for each of {', '.join(attribute_labels)}. Rename or remove "
            f"it; left unread are {', '.join(FOR_PEOPLE)}"
        )
    about = [name for name in ABOUT if name in columns]
    wanted = COLUMNS[:3] if is_long else ("product_id", *attributes)
    texts = select_text(table, [*wanted, *about], file).to_pandas()
    if not is_long:
        texts = texts.melt(
            ["product_id", *about], attributes, "attribute", "label", ignore_index=False
        )
        texts = texts.sort_index(kind="stable").reset_index(drop=True)
    return texts.reindex(columns=COLUMNS).astype(object)


def _spell(given: pd.Series, known: Sequence[str], what: str) -> pd.Series:
    meant = given.map(read_as(known)).astype(object)
    unknown = given[meant.isna()]
    if len(unknown):
        raise ConfigError(
            f"{what} is unknown: found {name_some(unknown)} ({len(unknown)} rows), expected one of "
            f"{', '.join(known)}. Correct it, or leave it empty to say nothing."
        )
    return meant


def _as_times(given: pd.Series, file: Path) -> pd.Series:
    """Return times in UTC; one without a zone is in UTC."""
    times = pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")
    wrong = given[given.notna() & times.isna()]
    if len(wrong):
        raise ConfigError(
            f"{file}: at is not a time: found {name_some(wrong.astype(str))}, expected such as "
            "2026-11-24T09:30:00Z"
        )
    # The latest label counts: one from the future would win over all that follow.
    late = given[times > pd.Timestamp.now("UTC") + pd.Timedelta(days=1)]
    if len(late):
        raise ConfigError(
            f"{file}: at lies in the future: found {name_some(late.astype(str))}, expected a time "
            "that has been. Set the clock of who labelled right, or leave it empty"
        )
    # Tables keep microseconds.
    return times.dt.floor("us")


def _refuse_unusable_ids(rows: pd.DataFrame, file: Path) -> None:
    """Raise ConfigError for a label without id, or a second one of an attribute."""
    ids = rows["product_id"]
    if without_id := int((~ids.str.contains(r"\S", na=False)).sum()):
        raise ConfigError(
            f"{file} lacks ids: found {without_id} labels without product_id, expected 0."
        )
    damaged = ids[ids.str.contains(REPLACED, regex=False)]
    if len(damaged):
        raise ConfigError(
            f"{file} is not in UTF-8: found product_id {name_some(damaged)}, whose bytes are not "
            "characters. Save it as UTF-8, which a spreadsheet calls CSV UTF-8."
        )
    twice = ids[rows.duplicated(KEY)]
    if len(twice):
        raise ConfigError(
            f"{file} labels an attribute of product {name_some(twice)} twice; expected one label "
            "for each. Import the files of several people one after the other."
        )


def read_sample(
    file: Path, attribute_labels: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, str | None, str | None]]:
    """Return product_id, attribute, title and image_path of each row of a file.

    The file is Parquet, CSV or JSON with these columns; others are ignored, `label` among them.
    Raises ConfigError if it cannot be read, is empty, or names an unknown attribute, and
    SchemaMismatch if a column is missing.
    """
    columns = [*KEY, "title", "image_path"]
    rows = select_text(read_table(file), columns, file).to_pandas().astype(object)
    rows = rows.where(rows.notna(), None)
    if rows.empty:
        raise ConfigError(f"{file} has no row to ask for.")
    if format_of(file) == "csv":
        rows = rows.map(unguard, na_action="ignore")
    rows["attribute"] = _spell(
        rows["attribute"].fillna(""), tuple(attribute_labels), f"{file}: attribute"
    )
    _refuse_unusable_ids(rows, file)
    return [tuple(row) for row in rows.itertuples(index=False)]
