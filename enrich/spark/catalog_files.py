"""Which files a product table at a local path is made of, and what Spark reads them with."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from enrich.errors import SchemaMismatch, first_line

# In a catalog folder of several tables, the one that is read.
_TABLE_IN_FOLDER = "products"
READERS = {
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {"header": "true", "multiLine": "true", "escape": '"'}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
}
# What Spark takes for a pattern in the name of a file.
_PATTERN = re.compile(r"[{}\[\]*?\\]")


def find_table(path: Path) -> Path:
    """Returns the table itself: a file, a folder of files, a Delta folder, or products.* in it.

    Runs on the driver, as all here.

    Raises:
        FileNotFoundError: there is none.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.is_file() and not suffix_of(path):
        raise FileNotFoundError(f"{path.name} is none of {', '.join(READERS)}")
    if path.is_file() or suffix_of(path) or (path / "_delta_log").is_dir():
        return path
    inside = [path / f"{_TABLE_IN_FOLDER}{suffix}" for suffix in ("", *READERS)]
    return next((table for table in inside if table.exists()), path)


def choose_files(path: str) -> tuple[str, str | list[str]]:
    """Returns the suffix of a table's files, "" for a Delta table, and what Spark is to load.

    Of a local folder of parts its files one by one: Spark would read whatever lies in it, and look
    through the images below.

    Raises:
        FileNotFoundError: a local folder holds no part, or parts of several kinds.
        SchemaMismatch: CSV or Parquet files have different columns.
    """
    if (Path(path) / "_delta_log").is_dir():
        return "", path
    parts = _list_parts(Path(path))
    suffix = suffix_of(path) or _suffix_of_parts(parts)
    if not suffix and Path(path).is_dir():
        raise FileNotFoundError(f"{path} is no Delta table and holds no {', '.join(READERS)} file")
    if suffix == ".csv":
        _require_same_columns(parts, _read_header, "the same in the same order")
    elif suffix == ".parquet":
        _require_same_columns(
            parts, _read_schema, "the same, of the same type also where all is NULL,"
        )
    if suffix_of(path) or not parts:
        return suffix, path
    return suffix, [_PATTERN.sub(r"\\\g<0>", str(part)) for part in parts]


def suffix_of(path: str | Path) -> str:
    """Returns the suffix of a file or folder of a kind that is read, else ""."""
    suffix = Path(path).suffix.lower()
    return suffix if suffix in READERS else ""


def _list_parts(folder: Path) -> list[Path]:
    """Returns the data files right inside a local folder; elsewhere there are none."""
    if not folder.is_dir():
        return []
    return [
        file
        for file in sorted(folder.iterdir())
        if suffix_of(file) and not file.name.startswith((".", "_")) and file.is_file()
    ]


def _suffix_of_parts(parts: Sequence[Path]) -> str:
    kinds = {READERS[suffix_of(part)][0]: part for part in parts}
    if len(kinds) > 1:
        names = " and ".join(part.name for part in kinds.values())
        raise FileNotFoundError(
            f"{parts[0].parent} holds files of several kinds, such as {names}: name the one to "
            "read, or leave one kind there"
        )
    return suffix_of(parts[0]) if parts else ""


def _require_same_columns(
    files: Sequence[Path], read: Callable[[Path], list[str]], wanted: str
) -> None:
    """Raises SchemaMismatch for files whose columns differ, which Spark does not notice.

    CSV files are read by position, Parquet files by the columns of one of them.
    """
    headers = {file: header for file in files if (header := read(file))}
    for file, header in headers.items():
        first = next(iter(headers))
        if header != headers[first]:
            raise SchemaMismatch(
                f"{file} has the columns {', '.join(header)}, and {first.name} beside it has "
                f"{', '.join(headers[first])}; wanted: {wanted} in all files of a folder"
            )


def _read_header(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        try:
            return next(filter(None, csv.reader(lines)), [])
        except csv.Error as error:
            raise SchemaMismatch(f"{file} has no line of column names: {error}") from error


def _read_schema(file: Path) -> list[str]:
    """Returns a Parquet file's columns with their types, sorted."""
    try:
        schema = pq.ParquetFile(file).schema
    except (OSError, pa.ArrowException) as error:
        raise SchemaMismatch(f"{file} is no Parquet file: {first_line(error)}") from error
    columns = (schema.column(number) for number in range(len(schema.names)))
    return sorted(
        f"{column.path} {'NULL' if column.logical_type.type == 'NULL' else column.physical_type}"
        for column in columns
    )
