"""Reads columns of text from a Parquet, CSV or JSON file; knows nothing of what they mean."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from enrich.errors import ConfigError, SchemaMismatch, first_line


def read_table(file: Path) -> pa.Table:
    """Returns the file's table; `.csv` and `.json` (an object a line) are read as such.

    Every column of a CSV is text, because 007 is an id and no number; an empty field is NULL. Text
    may hold bytes that are no UTF-8, which `select_text` mends.

    Raises:
        ConfigError: the file cannot be read.
    """
    kind = {".csv": "CSV", ".json": "JSON", ".jsonl": "JSON"}.get(file.suffix.lower(), "Parquet")
    try:
        if kind == "CSV":
            return _read_csv(file)
        return pyarrow.json.read_json(file) if kind == "JSON" else pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"no {kind} file can be read at {file}: {first_line(error)}") from error


def select_text(table: pa.Table, columns: Sequence[str], file: Path) -> pa.Table:
    """Returns those columns of a file's table as strings; bytes that are no UTF-8 become U+FFFD.

    Raises:
        SchemaMismatch: a column is missing, is there twice or cannot be read as text.
    """
    if missing := [name for name in columns if name not in table.column_names]:
        raise SchemaMismatch(
            f"{file} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}"
        )
    if twice := [name for name in columns if table.column_names.count(name) > 1]:
        raise SchemaMismatch(f"{file} has more than one column {', '.join(twice)}; wanted: one")
    strings = pa.schema([(name, pa.string()) for name in columns])
    try:
        selected = table.select(columns).cast(strings)
    except pa.ArrowException as error:
        raise SchemaMismatch(f"{file}: a column cannot be read as text: {error}") from error
    return pa.table([_as_utf8(column) for column in selected.columns], schema=strings)


def _as_utf8(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the column as it is, or mended: who writes a file checks nothing."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        values = column.cast(pa.binary()).to_pylist()
        mended = [None if one is None else one.decode(errors="replace") for one in values]
        return pa.chunked_array([mended], pa.string())
    return column


def _read_csv(file: Path) -> pa.Table:
    # Descriptions hold line breaks. The first pass is over the header alone, for the names.
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(file, parse_options=lines) as reader:
        names = reader.schema.names
    text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        check_utf8=False,
    )
    return pyarrow.csv.read_csv(file, parse_options=lines, convert_options=text)
