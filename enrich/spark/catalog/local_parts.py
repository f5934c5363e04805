"""What is wrong with the files of a local product table that Spark would not notice.

It reads CSV by position, and takes one Parquet file's columns for all.
"""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from enrich.errors import SchemaMismatch, first_line
from enrich.files.csv_files import find_row_ends
from enrich.files.tables import refuse_encoded
from enrich.spark.catalog.json_rows import refuse_lost_objects

_EMPTY = "NULL"
# Kinds of value that Parquet tells apart by a name alone: a decimal is stored as an integer.
_NAMED_KINDS = ("DECIMAL", "DATE", "TIME", "TIMESTAMP")


def look_at_csv(files: Sequence[Path], parts: Sequence[Path]) -> None:
    """Raises SchemaMismatch for CSV files of which Spark would mix up rows or columns."""
    for file in files:
        _refuse_encoded(file)
        _refuse_lost_rows(file)
    headers = {str(part): header for part in parts if (header := _read_header(part))}
    require_same_headers(headers)


def look_at_parquet(files: Sequence[Path], columns: Collection[str]) -> frozenset[str]:
    """Returns which of these columns are NULL in every row of Parquet files.

    Raises:
        SchemaMismatch: the files have different columns of these.
    """
    types = {str(file): _read_types(file, columns) for file in files}
    require_same_types(types)
    return frozenset(name for file in types.values() for name, t in file.items() if t == _EMPTY)


def look_at_json(files: Sequence[Path]) -> None:
    """Raises SchemaMismatch for JSON files of which Spark would lose objects."""
    for file in files:
        _refuse_encoded(file)
        refuse_lost_objects(file)


def require_same_headers(headers: Mapping[str, Sequence[str]]) -> None:
    """Raises SchemaMismatch for CSV files whose columns differ: Spark reads them by position."""
    _require_same_columns(headers, "the same in the same order")


def require_same_types(types: Mapping[str, Mapping[str, str]]) -> None:
    """Raises SchemaMismatch for Parquet files whose columns differ in name or type.

    Spark reads them by the columns of one of them. Each file's are in the order of their names.
    """
    described = {file: [f"{n} {t}" for n, t in found.items()] for file, found in types.items()}
    _require_same_columns(described, "the same, of the same types, be it NULL,")


def _require_same_columns(headers: Mapping[str, Sequence[str]], wanted: str) -> None:
    for file, header in headers.items():
        first = next(iter(headers))
        if header != headers[first]:
            folder, _, name = first.rpartition("/")
            other = f"{name} beside it" if folder == file.rpartition("/")[0] else first
            raise SchemaMismatch(
                f"{file} has the columns {', '.join(header)}, and {other} has "
                f"{', '.join(headers[first])}; wanted: {wanted} in all files of a folder"
            )


def _read_header(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        try:
            return next(filter(None, csv.reader(lines)), [])
        except csv.Error as error:
            raise SchemaMismatch(f"{file} has no line of column names: {error}") from error


def _refuse_encoded(file: Path) -> None:
    try:
        refuse_encoded(file)
    except ValueError as error:
        raise SchemaMismatch(f"{file} cannot be read: {error}") from error


def _refuse_lost_rows(file: Path) -> None:
    """Raises SchemaMismatch for a CSV file some rows of which Spark would take for one."""
    try:
        ends = find_row_ends(file)
    except ValueError as error:
        raise SchemaMismatch(f"{file} is cut off or damaged: {error}") from error
    if len(ends) > 1:
        # Spark looks for the ends of rows that the first row has.
        raise SchemaMismatch(
            f"rows of {file} end by {' and '.join(map(repr, sorted(ends)))}, as where parts of "
            "several systems were put together: write it with one kind of line end"
        )


def _read_types(file: Path, names: Collection[str]) -> dict[str, str]:
    """Returns the types of a Parquet file's columns of these names, in the order of the names."""
    try:
        schema = pq.ParquetFile(file).schema
    except pa.ArrowInvalid as error:
        raise OSError(f"{file} is no Parquet file: {first_line(error)}") from error
    columns = {one.path: one for one in map(schema.column, range(len(schema.names)))}
    return {name: _type_of(columns[name]) for name in sorted(names) if name in columns}


def _type_of(column: pq.ColumnSchema) -> str:
    logical = column.logical_type
    # As pyarrow calls the logical type Null.
    if logical.type == "UNKNOWN":
        return _EMPTY
    is_unsigned = logical.type == "INT" and "isSigned=false" in str(logical)
    is_told = logical.type in _NAMED_KINDS or is_unsigned
    return f"{column.physical_type} {logical}" if is_told else str(column.physical_type)
