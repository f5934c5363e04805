"""Reads columns of text from a Parquet, CSV or JSON file; knows nothing of what they mean."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from enrich.errors import ConfigError, SchemaMismatch, first_line

_LARGEST_BLOCK = 64 << 20


def read_table(file: Path) -> pa.Table:
    """Returns the file's table; `.csv` and `.json` (an object a line) are read as such.

    Every column of CSV and JSON is text, because 007 is an id and no number, and 2020-01-01 may be
    one; an empty field of a CSV is NULL. Text of other files may hold bytes that are no UTF-8,
    which `select_text` mends.

    Raises:
        ConfigError: the file cannot be read.
    """
    kind = {".csv": "CSV", ".json": "JSON", ".jsonl": "JSON"}.get(file.suffix.lower(), "Parquet")
    try:
        if kind == "CSV":
            return _read_csv(file)
        return _read_json(file) if kind == "JSON" else pq.read_table(file)
    except (OSError, ValueError, pa.ArrowException) as error:
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
    # A row must fit into a block.
    blocks = pyarrow.csv.ReadOptions(block_size=min(max(file.stat().st_size, 1), _LARGEST_BLOCK))
    with pyarrow.csv.open_csv(file, read_options=blocks, parse_options=lines) as reader:
        names = reader.schema.names
    text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        check_utf8=False,
    )
    return pyarrow.csv.read_csv(
        file, read_options=blocks, parse_options=lines, convert_options=text
    )


def _read_json(file: Path) -> pa.Table:
    with file.open("rb") as lines:
        rows = [json.loads(line.decode(errors="replace")) for line in lines if line.strip()]
    if odd := [row for row in rows if not isinstance(row, dict)]:
        raise ValueError(f"a line holds {str(odd[0])[:40]!r}; wanted: an object a line")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {_mend(name): [_as_text(row.get(name)) for row in rows] for name in names}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else _mend(value)
    return json.dumps(value)


def _mend(text: str) -> str:
    # JSON can spell half of a character.
    return text.encode(errors="replace").decode()
