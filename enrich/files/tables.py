"""Reads columns of text from a Parquet, CSV or JSON file; knows nothing of what they mean."""

import codecs
import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from enrich.errors import ConfigError, SchemaMismatch, first_line
from enrich.files.csv_files import read_csv

_TOO_LARGE = 2.0**63  # for 64 bits
# gzip, Zstandard, xz, zip, and bzip2 of nine levels.
_MARKS_OF_COMPRESSED = (
    *(b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"PK\x03\x04"),
    *(b"BZh%d1AY&SY" % level for level in range(1, 10)),
)
_LONGEST_MARK = max(map(len, _MARKS_OF_COMPRESSED))
_NO_SPACE = re.compile(r"\S")


def read_table(file: Path) -> pa.Table:
    """Returns the file's table; `.csv` and `.json` (an object a line) are read as such.

    Every column of CSV and JSON is text, because 007 is an id and no number, and 2020-01-01 may be
    one; an empty field of a CSV is NULL. Text of other files may hold bytes that are no UTF-8,
    which `select_text` mends.

    Raises:
        ConfigError: the file cannot be read.
    """
    if (file / "_delta_log").is_dir():
        raise ConfigError(
            f"{file} is a Delta table, whose folder also holds rows that were deleted or replaced: "
            "jobs/enrich_catalog.py reads it; here one Parquet, CSV or JSON file is wanted"
        )
    if file.is_dir() and not any(file.iterdir()):
        raise ConfigError(f"{file} is an empty folder; wanted: one Parquet, CSV or JSON file")
    kind = {".csv": "CSV", ".json": "JSON", ".jsonl": "JSON"}.get(file.suffix.lower(), "Parquet")
    try:
        if kind == "Parquet":
            return pq.read_table(file)
        refuse_encoded(file)
        return read_csv(file) if kind == "CSV" else _read_json(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = first_line(error)
        if kind == "Parquet" and file.is_file() and file.suffix.lower() != ".parquet":
            others = "for CSV and JSON wanted: .csv, .json or .jsonl, not compressed"
            reason = f"{reason.rstrip('.')}; {others}"
        raise ConfigError(f"no {kind} file can be read at {file}: {reason}") from error


def select_text(table: pa.Table, columns: Sequence[str], file: Path) -> pa.Table:
    """Returns those columns of a file's table as strings; bytes that are no UTF-8 become U+FFFD.

    Whole numbers are written as such: pandas makes 4006381333931.0 of an integer in a column that
    has a gap.

    Raises:
        SchemaMismatch: a column is missing, is there twice or cannot be read as text.
    """
    if missing := [name for name in columns if name not in table.column_names]:
        raise SchemaMismatch(
            f"{file} has no column {', '.join(missing)}; it has "
            f"{', '.join(table.column_names) or 'none'}"
        )
    if twice := [name for name in columns if table.column_names.count(name) > 1]:
        raise SchemaMismatch(f"{file} has more than one column {', '.join(twice)}; wanted: one")
    strings = pa.schema([(name, pa.string()) for name in columns])
    texts = []
    for name in columns:
        try:
            texts.append(_as_utf8(_to_text(table[name])))
        except pa.ArrowException as error:
            raise SchemaMismatch(
                f"{file}: column {name} cannot be read as text: {first_line(error)}"
            ) from error
    return pa.table(texts, schema=strings)


def _to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):
        return _numbers_to_text(column)
    if pa.types.is_decimal(column.type):
        # There may be fractions among them.
        with contextlib.suppress(pa.ArrowInvalid):
            column = column.cast(pa.int64())
    # What bytes cannot be read as is mended afterwards.
    return pc.cast(column, options=pc.CastOptions(pa.string(), allow_invalid_utf8=True))


def _numbers_to_text(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns whole numbers as such and others as they are; NaN, which is a gap too, is NULL."""
    text = numbers.cast(pa.string())
    wide = numbers.cast(pa.float64())
    given = pc.if_else(pc.is_nan(wide), None, wide)
    is_whole = pc.and_(pc.equal(pc.floor(given), given), pc.less(pc.abs(given), _TOO_LARGE))
    whole = pc.if_else(is_whole, given, None).cast(pa.int64())
    return pc.if_else(pc.is_valid(given), pc.coalesce(whole.cast(pa.string()), text), None)


def _as_utf8(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the column as it is, or mended: who writes a file checks nothing."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        values = column.cast(pa.binary()).to_pylist()
        mended = [None if one is None else one.decode(errors="replace") for one in values]
        return pa.chunked_array([mended], pa.string())
    return column


def refuse_encoded(file: Path) -> None:
    """Raises ValueError for a file in UTF-16, as Excel's "Unicode text" is, or a compressed one."""
    with file.open("rb") as content:
        begin = content.read(_LONGEST_MARK)
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is in UTF-16; wanted: UTF-8")
    if begin.startswith(_MARKS_OF_COMPRESSED):
        raise ValueError("it is compressed, whatever it is called: unpack it")


def _read_json(file: Path) -> pa.Table:
    rows = list(_objects(file.read_bytes().decode("utf-8-sig", errors="replace")))
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({_mend(name): _as_column([row.get(name) for row in rows]) for name in names})


def _objects(text: str) -> Iterator[dict[str, Any]]:
    # Numbers stay as they are written: 1.10 and 1.1 are two ids. But for what pandas makes of a
    # column that has a gap: 7.0 of 7, and NaN of the gap.
    decoder = json.JSONDecoder(
        parse_float=lambda number: number.removesuffix(".0"),
        parse_int=str,
        parse_constant=lambda name: None if name == "NaN" else name,
        strict=False,
    )
    end = 0
    while (start := _NO_SPACE.search(text, end)) is not None:
        try:
            value, end = decoder.raw_decode(text, start.start())
        except RecursionError as error:
            raise ValueError("objects within objects without end") from error
        if not isinstance(value, dict):
            raise ValueError(f"it holds {str(value)[:40]!r}; wanted: objects, one a line")
        yield value


def _as_column(values: list[Any]) -> pa.Array:
    if any(isinstance(value, dict | list) for value in values):
        # No text, which whoever asks for this column is told.
        return pa.array([None if value is None else [] for value in values], pa.list_(pa.string()))
    return pa.array([None if value is None else _as_text(value) for value in values], pa.string())


def _as_text(value: str | bool) -> str:
    return _mend(value) if isinstance(value, str) else json.dumps(value)


def _mend(text: str) -> str:
    # JSON can spell half of a character.
    return text.encode(errors="replace").decode()
