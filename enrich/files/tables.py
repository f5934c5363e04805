"""Tables: their files, columns of text outside Spark, CSV for spreadsheets."""

import contextlib
import csv
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from enrich.errors import ConfigError, SchemaMismatch, first_line

_TOO_LARGE = 2.0**63  # for 64 bits
# Spark's names of formats, by the ending of a file's or folder's name.
FORMATS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}
_TITLES = {"parquet": "Parquet", "csv": "CSV", "json": "JSON"}
# May follow the ending. Spark recognises these by their names, but not .xz and .zip.
COMPRESSED = (".gz", ".bz2", ".zst")
# Name of the product table, without ending, in a folder that holds other files too.
_TABLE_IN_FOLDER = "products"
# What Spark calls a partition of NULL.
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# Some also take the full-width ones of East Asia, and what follows a line break.
_SIGN = r"[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"
_FORMULA = re.compile(f"'*{_SIGN}")
_GUARDED = re.compile(f"'+{_SIGN}")


def format_of(path: Path) -> str | None:
    """Return the format of a file or folder by its suffix; None if unknown."""
    stem = path.stem if path.suffix.lower() in COMPRESSED else path.name
    return FORMATS.get(Path(stem).suffix.lower())


def is_delta(path: Path) -> bool:
    """Return True for the folder of a Delta table."""
    return (path / "_delta_log").is_dir()


class FoundTable(NamedTuple):
    """A table on this machine.

    `table` is a file, a folder of files or a Delta folder. `paths` are what Spark reads: a folder
    with the table's name or with partitions as a whole. Relative image paths start from `folder`.
    """

    table: Path
    format: str
    paths: list[Path]
    folder: Path


def find_table(path: Path) -> FoundTable:
    """Find a file, a folder of files, a Delta folder, or products.* in a folder.

    Raises FileNotFoundError if nothing is there, or files that do not make one table.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    # For a link, this is the folder of the link.
    is_table = path.is_file() or bool(format_of(path))
    folder = path.parent.resolve() if is_table else path.resolve()
    table = folder / path.name if is_table else folder
    is_alone = is_table or is_delta(table)
    for one in (table,) if is_alone else (*_list_names_in_folder(table), table):
        if found := _find_files(one):
            return FoundTable(one, *found, folder)
    raise FileNotFoundError(f"{path} is not a Delta table and holds no {', '.join(FORMATS)} file")


def _list_names_in_folder(folder: Path) -> list[Path]:
    endings = [f"{kind}{packed}" for kind in FORMATS for packed in ("", *COMPRESSED)]
    return [folder / f"{_TABLE_IN_FOLDER}{ending}" for ending in ("", *endings)]


def _find_files(path: Path) -> tuple[str, list[Path]] | None:
    """Return the format of a file or folder and the paths to read; None without data.

    In a folder without a table's name only files with a format's name are read: there may be a
    million pictures beside them.
    """
    if not path.exists() or is_delta(path):
        return ("delta", [path]) if path.exists() else None
    inside = sorted(path.iterdir()) if path.is_dir() else []
    visible = [one for one in inside if not one.name.startswith((".", "_"))]
    files = [one for one in visible if format_of(one) and not one.is_dir()]
    partitions = [one for one in visible if "=" in one.name and one.is_dir()]
    if files and partitions:
        # Spark would skip the files.
        raise FileNotFoundError(
            f"{files[0]} lies beside partitions such as {partitions[0].name}. Move one of them away"
        )
    if named := format_of(path):
        return named, [path]
    of_partitions = filter(None, map(_find_files, partitions))
    formats = {*map(format_of, files), *(found for found, _ in of_partitions)}
    if len(formats) > 1:
        raise FileNotFoundError(
            f"{path} holds files of several formats: {', '.join(sorted(map(str, formats)))}. Name "
            "the file to read, or leave files of one format there"
        )
    return (str(formats.pop()), [path] if partitions else files) if formats else None


def list_parts(folder: Path) -> list[Path]:
    """Return the files of a folder and its partitions, by name."""
    parts: list[Path] = []
    for one in sorted(folder.iterdir()):
        if one.name.startswith((".", "_")):
            continue
        if one.is_dir():
            parts += list_parts(one) if "=" in one.name else []
        elif format_of(one):
            parts.append(one)
    return parts


def read_table(path: Path) -> pa.Table:
    """Return the table of a file, of a folder of files, or of a Delta table's folder.

    A file is `.csv`, `.json` or `.jsonl` (an object a line), else Parquet. CSV and JSON may be
    compressed. Their columns are all text, because 007 is an id and 2020-01-01 may be one. An empty
    field of a CSV is NULL. Bytes that are not UTF-8 become U+FFFD; in Parquet they stay until
    `select_text` replaces them. Partitions (`country=de/`) are columns of text.

    Raises ConfigError if the file or folder cannot be read, or files of a folder do not fit
    together.
    """
    if is_delta(path):
        return read_delta(path)
    if path.is_dir():
        return _read_folder(path)
    kind = format_of(path) or "parquet"
    try:
        if kind == "parquet":
            return pq.read_table(path)
        with pa.input_stream(str(path), compression="detect") as content:
            return _read_csv(content) if kind == "csv" else _read_json(content.read())
    except (OSError, ValueError, RecursionError, pd.errors.ParserWarning, pa.ArrowException) as e:
        raise ConfigError(f"no {_TITLES[kind]} file can be read at {path}: {first_line(e)}") from e


def read_delta(
    folder: Path, columns: Sequence[str] | None = None, where: str | None = None
) -> pa.Table:
    """Return the rows of a Delta table's folder.

    `columns` are all by default. `where` is a condition on rows in SQL of DataFusion. Raises
    ConfigError if the table cannot be read.
    """
    # Imported only now, because few tables are read by it.
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        table = DeltaTable(folder)
        # The scan knows deletion vectors, and has kinds of text that pyarrow's functions have not.
        schema = pa.schema(table.schema().to_arrow())
        schema = pa.schema([schema.field(name) for name in columns or schema.names])
        return pa.table(table.scan(schema.names, where)).select(schema.names).cast(schema)
    except (DeltaError, OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ConfigError(f"no Delta table can be read at {folder}: {first_line(error)}") from error


def _read_folder(folder: Path) -> pa.Table:
    try:
        found = _find_files(folder)
    except FileNotFoundError as error:
        raise ConfigError(f"{error}.") from error
    parts = list_parts(folder)
    if found is None or not parts:
        raise ConfigError(
            f"{folder} holds no table: found no file that ends in {', '.join(FORMATS)}, nor a "
            "Delta log."
        )
    tables = [_read_part(part, folder) for part in parts]
    names = [set(table.column_names) for table in tables]
    if found[0] == "csv" and any(one != names[0] for one in names):
        other = next(part for part, one in zip(parts, names, strict=True) if one != names[0])
        raise ConfigError(f"{other} has other columns than {parts[0]}: expected the same.")
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ConfigError(
            f"the files in {folder} do not fit together: {first_line(error)}"
        ) from error


def _read_part(part: Path, folder: Path) -> pa.Table:
    """Return the table of a file, with a column for each of its partitions."""
    table = read_table(part)
    for partition in part.relative_to(folder).parts[:-1]:
        name, _, value = map(unquote, partition.partition("="))
        values = [None if value == _NULL_PARTITION else value] * table.num_rows
        table = table.append_column(name, pa.array(values, pa.string()))
    return table


def select_text(table: pa.Table, columns: Sequence[str], file: Path) -> pa.Table:
    """Return these columns of a file's table as strings in valid UTF-8.

    Bytes that are not UTF-8 become U+FFFD. Whole numbers are written as such: pandas makes
    4006381333931.0 of an integer in a column that has a gap. Raises SchemaMismatch if a column is
    missing, is there twice or cannot be read as text.
    """
    if missing := [name for name in columns if name not in table.column_names]:
        raise SchemaMismatch(
            f"{file} has no column {', '.join(missing)}; it has "
            f"{', '.join(table.column_names) or 'none'}"
        )
    if twice := [name for name in columns if table.column_names.count(name) > 1]:
        raise SchemaMismatch(f"{file} has more than one column {', '.join(twice)}: expected one")
    texts = []
    for name in columns:
        try:
            texts.append(_as_utf8(_to_text(table[name])))
        except pa.ArrowException as error:
            raise SchemaMismatch(
                f"{file}: column {name} cannot be read as text: {first_line(error)}"
            ) from error
    return pa.table(texts, schema=pa.schema([(name, pa.string()) for name in columns]))


def guard(text: str) -> str:
    """Return the text, escaped by an apostrophe if it would be a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Return the text that `guard` was given."""
    return text[1:] if _GUARDED.match(text) else text


def write_csv(table: pd.DataFrame, file: Path) -> None:
    """Write a table as CSV with all fields quoted.

    Without quotation marks Python leaves a lone carriage return inside a text as it is, and
    readers end the row there.
    """
    table.to_csv(file, index=False, quoting=csv.QUOTE_ALL)


def _read_csv(content: pa.NativeFile) -> pa.Table:
    with warnings.catch_warnings():
        # Of a first row that has more fields than the header.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            content,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            index_col=False,
            encoding="utf-8-sig",
            encoding_errors="replace",
        )
    return pa.table({name: pa.array(frame[name], pa.string()) for name in frame})


def _read_json(content: bytes) -> pa.Table:
    # Numbers stay as they are written: 1.10 and 1.1 are two ids. But for what pandas makes of a
    # column that has a gap: 7.0 of 7, and NaN of the gap.
    decoder = json.JSONDecoder(
        parse_float=lambda number: number.removesuffix(".0"),
        parse_int=str,
        parse_constant=lambda name: None if name == "NaN" else name,
        strict=False,
    )
    lines = content.decode("utf-8-sig", errors="replace").split("\n")
    rows = [decoder.decode(line) for line in lines if line.strip()]
    if other := next((row for row in rows if not isinstance(row, dict)), None):
        raise ValueError(f"found {str(other)[:40]!r}, expected an object a line")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({_mend(name): _as_column([row.get(name) for row in rows]) for name in names})


def _as_column(values: list[Any]) -> pa.Array:
    if any(isinstance(value, dict | list) for value in values):
        # Not text, which whoever asks for this column is told.
        with contextlib.suppress(pa.ArrowException):
            return pa.array(values, pa.list_(pa.string()))
        return pa.array([None if value is None else {} for value in values], pa.struct([]))
    texts = [_mend(one) if isinstance(one, str) else json.dumps(one) for one in values]
    return pa.array([None if v is None else t for v, t in zip(values, texts, strict=True)])


def _mend(text: str) -> str:
    # JSON can spell half of a character.
    return text.encode(errors="replace").decode()


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
    """Return numbers as text, whole ones without a fraction, NaN as NULL."""
    text = numbers.cast(pa.string())
    wide = numbers.cast(pa.float64())
    given = pc.if_else(pc.is_nan(wide), None, wide)
    is_whole = pc.and_(pc.equal(pc.floor(given), given), pc.less(pc.abs(given), _TOO_LARGE))
    whole = pc.if_else(is_whole, given, None).cast(pa.int64())
    return pc.if_else(pc.is_valid(given), pc.coalesce(whole.cast(pa.string()), text), None)


def _as_utf8(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column as it is, or mended: who writes a file checks nothing."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        values = column.cast(pa.binary()).to_pylist()
        mended = [None if one is None else one.decode(errors="replace") for one in values]
        return pa.chunked_array([mended], pa.string())
    return column
