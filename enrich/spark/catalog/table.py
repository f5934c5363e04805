"""Opens a product table at one pinned snapshot."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, ArithmeticException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType
from schemas.quoting import quote, quote_part

from enrich.config import ColumnNames
from enrich.errors import ConfigError, NoAnswer, first_line, kind_of
from enrich.images.locations import local_path
from enrich.spark.catalog.columns import select_columns
from enrich.spark.catalog.csv_rows import read_csv_rows
from enrich.spark.catalog.files import READERS, Files, choose_files, find_table, suffix_of
from enrich.spark.catalog.json_rows import NO_JSON, as_text, find_columns, read_objects, without_nan
from enrich.spark.catalog.stored_parts import refuse_unlike_parts
from enrich.spark.hadoop import open_folder
from enrich.spark.settings import session_settings
from enrich.spark.storage import messages_of

# While Spark finds out what columns there are. Dates as pandas writes them, in nanoseconds, are no
# type of Spark's.
_TAKES_MORE = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
}
# What a partition is called may be an id or a code, such as 007.
_FOLDERS_ARE_TEXT = {"spark.sql.sources.partitionColumnTypeInference.enabled": "false"}
# What Spark reads that PySpark cannot name by Arrow's types.
_SAME = {pa.uint64(): pa.decimal128(20, 0), pa.string_view(): pa.string()}
# How the version of a table begins that is a digest of its files.
_OF_FILES = "files-"
_ASKED_ONE_BY_ONE = 20


@dataclass(frozen=True, slots=True)
class CatalogSnapshot:
    """A product table as it was when the run began.

    `products` has the columns product_id, title, description, image_path and product_category, all
    STRING, and priority, a DOUBLE; the last two are NULL where the configuration names none. And
    has_surplus_fields: whether a row of CSV has more fields than there are columns, or a line of
    JSON is no JSON. And has_replaced_bytes: whether bytes of the row were no UTF-8; if they were in
    its product_id, that is NULL.
    `version` is the Delta version, or a digest of the files. `folder` is where relative image paths
    start from by default; None for a table known by name only.
    """

    name: str
    version: str
    products: DataFrame
    folder: str | None


def open_catalog(
    spark: SparkSession, location: str, columns: ColumnNames, version: str | None = None
) -> CatalogSnapshot:
    """Opens a Delta, Parquet, CSV or JSON path, or a catalog table by name.

    Runs on the driver.

    Args:
        spark: The session.
        location: The path or the name.
        columns: What its columns are called.
        version: That of an earlier snapshot. A Delta table is opened as it was then, files as they
            are.

    Raises:
        ConfigError: nothing can be read there, or no longer in that version.
        NoAnswer: its store or the metastore is out of reach.
        SchemaMismatch: a column is missing or of a wrong type.
    """
    is_name = "/" not in location and not Path(location).exists()
    earlier = int(version) if version and version.isdecimal() else None
    try:
        with _quiet(spark):
            if is_name:
                frame, version, folder = _open_table(spark, location, earlier)
            else:
                frame, version, folder = _open_path(spark, location, columns, earlier)
            # Resolves the plan here, where a failure can be explained.
            frame.schema  # noqa: B018
    except (PySparkException, Py4JJavaError, OSError) as error:
        reason = first_line(error).rstrip(".")
        if "EXPECT_TABLE_NOT_VIEW" in reason:
            reason = "it is a view, which has no version to hold on to: write it as a table"
        # The path itself may hold words such as "timed out".
        messages = [message.replace(location, "") for message in messages_of(error)]
        kind = kind_of(messages, ConfigError)
        raise kind(
            f"no product table can be read at '{location}': {reason}. Wanted: a Delta, "
            f"Parquet, CSV or JSON path, or the name of a table{_explain_suffix(location)}"
        ) from error
    return CatalogSnapshot(location, version, select_columns(frame, columns, location), folder)


def _explain_suffix(location: str) -> str:
    """Returns why a URI was read as Delta, where it was."""
    if "://" not in location or suffix_of(location.rstrip("/")):
        return ""
    return (
        f". On an object store the name of what is no Delta table, a folder's too, must end in "
        f"{', '.join(READERS)}"
    )


@contextmanager
def _quiet(spark: SparkSession) -> Iterator[None]:
    """Keeps Spark's own account of a failure, pages of Java, off the console."""
    jvm: Any = spark.sparkContext._jvm
    level = jvm.org.apache.logging.log4j.LogManager.getRootLogger().getLevel().toString()
    spark.sparkContext.setLogLevel("OFF")
    try:
        yield
    finally:
        spark.sparkContext.setLogLevel(level)


def refuse_exchanged(catalog: CatalogSnapshot) -> None:
    """Raises NoAnswer where the table's files are others than when it was opened.

    Of such a file Spark reads as many bytes as the old one had, and takes it that the table ends
    there. Runs on the driver; no action. A Delta table is pinned to its version.
    """
    if not catalog.version.startswith(_OF_FILES):
        return
    try:
        is_same = _files_digest(catalog.products) == catalog.version
    except Py4JJavaError:
        is_same = False  # who replaces a folder removes it first
    if not is_same:
        raise NoAnswer(f"'{catalog.name}' was replaced while it was read: run this again")


def _open_table(spark: SparkSession, name: str, earlier: int | None) -> tuple[DataFrame, str, None]:
    name = quote(name)
    frame = spark.read.table(name)
    details = spark.sql(f"DESCRIBE DETAIL {name}").first()
    if details is not None and details["format"] == "delta":
        version = _choose_version(spark, name, earlier)
        return spark.read.option("versionAsOf", version).table(name), str(version), None
    return frame, _files_digest(frame), None


def _open_path(
    spark: SparkSession, location: str, columns: ColumnNames, earlier: int | None
) -> tuple[DataFrame, str, str]:
    location = local_path(location)
    path = location.rstrip("/")
    is_table = bool(suffix_of(path))
    folder = path.rsplit("/", 1)[0] if is_table else path
    if "://" not in location:
        table = find_table(Path(location))
        # The last name is a link's own, which says what it leads to.
        path = str(table.parent.resolve() / table.name if suffix_of(table) else table.resolve())
        is_folder = Path(location).is_dir() and not is_table
        folder = str(Path(location).resolve() if is_folder else Path(path).parent)
    wanted = [name for name in columns.model_dump().values() if name]
    is_delta = "://" in path and is_table and _has_delta_log(spark, path)
    files = Files("", path, frozenset()) if is_delta else choose_files(path, wanted)
    if not files.suffix:
        path = path if "://" in path else f"file://{Path(path).resolve()}"
        version = _choose_version(spark, f"delta.{quote_part(path)}", earlier)
        frame = spark.read.format("delta").option("versionAsOf", version).load(path)
        return frame, str(version), folder
    with session_settings(spark, _FOLDERS_ARE_TEXT):
        frame = _read_files(spark, files, wanted)
    kind, options = READERS[files.suffix]
    if "://" in path and kind != "json":
        with session_settings(spark, _TAKES_MORE):
            refuse_unlike_parts(frame, kind, options, wanted)
    if kind == "json":
        frame = without_nan(frame, wanted)
    frame = frame.withColumns({name: F.lit(None) for name in files.empty})
    return frame, _files_digest(frame), folder


def _has_delta_log(spark: SparkSession, path: str) -> bool:
    """Tells a Delta table of a store, which Spark would read with what was deleted or replaced."""
    store, folder = open_folder(spark, path)
    # Of what lies below a file HDFS does not say that it is not there.
    return store.isDirectory(folder) and bool(store.isDirectory(folder.suffix("/_delta_log")))


def _read_files(spark: SparkSession, files: Files, wanted: Collection[str]) -> DataFrame:
    """Returns the rows, whatever other columns there are beside those that are wanted.

    Columns whose names differ in case alone are left out, because Spark refuses to read them. Those
    that are wanted stay, and are refused later: nobody knows which one is meant.
    """
    kind, of_kind = READERS[files.suffix]
    options = {**of_kind, **files.base}
    if kind == "csv":
        return read_csv_rows(spark, files.load, options, wanted)
    reader = spark.read.format(kind).options(**options)
    try:
        with session_settings(spark, _TAKES_MORE):
            frame = reader.load(files.load)
            columns = frame.schema
    except (AnalysisException, ArithmeticException) as error:
        if kind == "json" and error.getCondition() == "COLUMN_ALREADY_EXISTS":
            lines = spark.read.options(**files.base).text(files.load)
            return read_objects(lines, find_columns(lines, wanted))
        if kind == "parquet" and files.first:
            return reader.schema(_read_footer(files.first, wanted)).load(files.load)
        raise
    uses = Counter(column.name.lower() for column in columns)
    read = {name.lower() for name in wanted}
    kept = [c for c in columns if c.name.lower() in read or uses[c.name.lower()] == 1]
    if kind == "json" and NO_JSON in columns.names and len(columns) > 1:
        lines = spark.read.options(**files.base).text(files.load)
        return read_objects(lines, [as_text(c, wanted) for c in kept if c.name != NO_JSON])
    if max(uses.values(), default=1) == 1:
        return frame
    return reader.schema(StructType(kept)).load(files.load)


def _read_footer(file: Path, wanted: Collection[str]) -> StructType:
    """Returns those of the columns that a Parquet file has.

    For files of which a column that nobody reads has a type that Spark does not know: a time of
    day, a UUID, a number of 16 bits or of more than 38 digits.
    """
    schema = [one for one in pq.read_schema(file) if one.name in wanted]
    read = [one.with_type(_SAME.get(one.type, one.type)) for one in schema if one.type != pa.null()]
    return from_arrow_schema(pa.schema(read))


def _choose_version(spark: SparkSession, table: str, earlier: int | None) -> int:
    """Returns the earlier version of a Delta table that is asked for, or else the newest."""
    if earlier is not None:
        return earlier
    newest = spark.sql(f"DESCRIBE HISTORY {table} LIMIT 1").first()
    if newest is None:
        raise FileNotFoundError(f"{table} has no version")
    return int(newest["version"])


def _files_digest(frame: DataFrame) -> str:
    """Returns a digest of the files' names, sizes and times; the plan reads no later ones."""
    names: dict[str, set[str]] = {}
    for uri in frame.inputFiles():
        folder, _, name = unquote(uri).rpartition("/")
        names.setdefault(folder, set()).add(name)
    described = []
    for folder, wanted in names.items():
        for file in _look_at(frame.sparkSession, folder, wanted):
            name = file.getPath().getName()
            described.append(repr((folder, name, file.getLen(), file.getModificationTime())))
    digest = hashlib.sha256("\n".join(sorted(described)).encode())
    return f"{_OF_FILES}{digest.hexdigest()[:12]}"


def _look_at(spark: SparkSession, folder: str, wanted: Collection[str]) -> Iterator[Any]:
    """Yields Hadoop's status of these files of a folder."""
    store, path = open_folder(spark, folder)
    if len(wanted) <= _ASKED_ONE_BY_ONE:
        # Beside a product table may lie the images of all its products.
        yield from (store.getFileStatus(path.suffix(f"/{name}")) for name in wanted)
    else:
        # On an object store a question a file would take minutes.
        yield from (one for one in store.listStatus(path) if one.getPath().getName() in wanted)
