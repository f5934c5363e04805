"""Which files a product table at a local path is made of, and what Spark reads them with."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from enrich.spark.catalog.json_rows import OPTIONS
from enrich.spark.catalog.local_parts import look_at_csv, look_at_json, look_at_parquet
from enrich.spark.hadoop import escape_pattern

log = logging.getLogger(__name__)

# What the product table is called in a folder that holds it among other files.
_TABLE_IN_FOLDER = "products"
READERS = {
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {"header": "true", "multiLine": "true", "escape": '"'}),
    ".json": ("json", OPTIONS),
    ".jsonl": ("json", OPTIONS),
}
# What folders in a table are called: Delta's log, partitions, and where Spark writes at first.
_IN_DATA = re.compile(r"^_delta_log$|=|^_temporary|^\.spark-staging")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".snappy", ".zip")


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
    if _holds_data(path / _TABLE_IN_FOLDER):
        return path / _TABLE_IN_FOLDER
    inside = [path / f"{_TABLE_IN_FOLDER}{suffix}" for suffix in READERS]
    tables = [table for table in inside if table.exists()]
    if tables:
        _tell_others(tables[0])
    return tables[0] if tables else path


def _holds_data(folder: Path) -> bool:
    """Tells a folder of data, be it some that is refused later, from one of pictures."""
    return folder.is_dir() and any(
        suffix_of(one) or suffix_of(one.stem) or (_IN_DATA.search(one.name) and one.is_dir())
        for one in folder.iterdir()
    )


def _tell_others(table: Path) -> None:
    """Logs which files beside a table are called as if they were more of it."""
    kind = READERS[suffix_of(table)][0]
    others = [
        one.name
        for one in sorted(table.parent.iterdir())
        if one.name.lower().startswith(_TABLE_IN_FOLDER) and one.name != table.name
        if suffix_of(one) and READERS[suffix_of(one)][0] == kind
    ]
    if others:
        log.warning(
            "of %s the job reads %s alone; not read: %s",
            table.parent,
            table.name,
            ", ".join(others),
        )


class Files(NamedTuple):
    """The files of a table, and how Spark is to load them.

    `suffix`: of all of them, "" for a Delta table.
    `load`: paths for Spark, escaped so that no local name is taken for a pattern. The parts of a
    folder stand there one by one: given the folder, Spark would read every file in it, looked at or
    not, and look through the images below.
    `empty`: columns that are NULL in every row of every Parquet file; Spark would read them as
    integers.
    `first`: one of the files, where they are local.
    `base`: options that say below which folder partitions are columns.
    """

    suffix: str
    load: str | list[str]
    empty: frozenset[str]
    first: Path | None = None
    base: Mapping[str, str] = MappingProxyType({})


def choose_files(path: str, columns: Collection[str]) -> Files:
    """Returns the files of a table of which these columns are read.

    Raises:
        FileNotFoundError: a local folder holds no part, parts of several kinds, compressed ones,
            or some beside partitions.
        OSError: a local file is not Parquet, though it is called so.
        SchemaMismatch: CSV files have different columns, or Parquet files different ones of these;
            or a quotation mark of a CSV file is closed nowhere, or its rows end in several ways; or
            a JSON file is one array over several lines or has several objects in one; or one of
            either kind is in UTF-16 or compressed.
    """
    own = suffix_of(path)
    if "://" in path:
        return Files(own, escape_pattern(path) if own else path, frozenset())
    # The name is a link's own; what it leads to is read to its end, also if it is exchanged.
    table = Path(path).resolve()
    if (table / "_delta_log").is_dir():
        return Files("", path, frozenset())
    parts = _with_partitions(table, own) if own else _list_parts(table, own)
    suffix = own or _suffix_of_parts(parts)
    files = parts or ([table] if table.is_file() else [])
    if not suffix or not files:
        raise FileNotFoundError(
            f"{path} is no Delta table and holds no {', '.join(READERS)} file (of a folder with "
            "partitions, such as country=de, the name must end like that)"
        )
    empty = frozenset[str]()
    if suffix == ".csv":
        look_at_csv(files, parts)
    elif suffix == ".parquet":
        empty = look_at_parquet(files, columns)
    else:
        look_at_json(files)
    # With a scheme, else Spark looks for them in the cluster's own file system.
    load = ["file://" + escape_pattern(str(file)) for file in files]
    base = {"basePath": f"file://{table}"} if own and parts else {}
    return Files(suffix, load, empty, files[0], base)


def suffix_of(path: str | Path) -> str:
    """Returns the suffix of a file or folder of a kind that is read, else ""."""
    suffix = Path(path).suffix.lower()
    return suffix if suffix in READERS else ""


def _list_parts(folder: Path, own: str) -> list[Path]:
    """Returns the data files right inside a folder.

    `own`: the suffix of the table that the folder is or belongs to, "" where it has none. Where it
    has one, files without any are data too: Hive and MapReduce write such.

    Raises:
        FileNotFoundError: one is compressed, or a link that leads nowhere, and would be left out.
    """
    if not folder.is_dir():
        return []
    visible = sorted(file for file in folder.iterdir() if not file.name.startswith((".", "_")))
    named = [file for file in visible if suffix_of(file) or (own and not file.suffix)]
    for file in named:
        if not file.exists():
            raise FileNotFoundError(f"{file} is a link that leads nowhere: mend or remove it")
    parts = [file for file in named if file.is_file()]
    kinds = {own} if own else {suffix_of(part) for part in parts} or set(READERS)
    for file in visible:
        if file.suffix.lower() in _COMPRESSED and suffix_of(file.stem) in kinds:
            raise FileNotFoundError(f"{file} is compressed: unpack it, or move it elsewhere")
    return parts


def _with_partitions(folder: Path, own: str) -> list[Path]:
    """Returns the data files of a folder, also those in partitions such as country=de.

    Raises:
        FileNotFoundError: there are some of both, of which Spark takes the latter alone for a table
            in partitions; or as `_list_parts`.
    """
    parts = _list_parts(folder, own)
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [one for one in inside if "=" in one.name and not one.name.startswith(".")]
    partitions = [one for one in named if one.is_dir()]
    below = [part for one in partitions for part in _with_partitions(one, own)]
    if below and parts:
        raise FileNotFoundError(
            f"{parts[0]} lies beside partitions such as {partitions[0].name}: one of the two does "
            "not belong there"
        )
    return parts or below


def _suffix_of_parts(parts: Sequence[Path]) -> str:
    kinds = {READERS[suffix_of(part)][0]: part for part in parts}
    if len(kinds) > 1:
        names = " and ".join(part.name for part in kinds.values())
        raise FileNotFoundError(
            f"{parts[0].parent} holds files of several kinds, such as {names}: name the one to "
            "read, or leave one kind there"
        )
    return suffix_of(parts[0]) if parts else ""
