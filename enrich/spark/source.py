"""Product table at one pinned version, in the columns that a run needs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, is_remote
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DecimalType,
    IntegralType,
    NullType,
    NumericType,
    StringType,
    StructField,
    StructType,
)
from schemas.tables import quote, quote_part

from enrich.config import ColumnNames, JobConfig
from enrich.errors import ConfigError, NoAnswer, SchemaMismatch, kind_of
from enrich.files.tables import find_table, format_of
from enrich.images.locations import LONGEST_PATH, local_path, parse_location
from enrich.images.store import ImageStore
from enrich.spark.failures import messages_of, reason_of
from enrich.spark.session import escape_pattern, has_folder, java_log_off, session_settings
from enrich.text import LONGEST_READ, REPLACED

# Column for a row that does not fit the columns: Spark's readers put it there as it is.
_RECORD = "the row as it is"
# Columns beside the table's own, which may have any plain name.
_ID, _KEY, _WANTED = "the id as it is read", "the id or a number", "the id that is wanted"
_OPTIONS = {
    "parquet": {},
    "csv": {"header": "true", "multiLine": "true", "escape": '"', "columnPruning": "false"},
    "json": {"allowUnquotedControlChars": "true"},
}
# While Spark reads the schema, also of columns that the job ignores: names that differ in case
# alone, and times in nanoseconds, as pandas writes them.
_LENIENT_SCHEMA = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
}
# The name of a partition may be an id or a code, such as 007.
_PARTITIONS_ARE_TEXT = {"spark.sql.sources.partitionColumnTypeInference.enabled": "false"}
# Surplus fields of a CSV row that are parsed.
_MOST_SURPLUS = 8
# In characters. Without a limit, thousands of descriptions of megabytes would be one Arrow batch,
# too large for memory.
_LONGEST = {"title": LONGEST_READ, "description": LONGEST_READ, "image_path": LONGEST_PATH + 1}
_FEED_PROPERTY = "delta.enableChangeDataFeed"
# Prefix of a version that is a digest of files.
_FILES_PREFIX = "files-"


@dataclass(frozen=True, slots=True)
class Source:
    """Product table at the version at which it was opened.

    Attributes:
        name: The table's path or name, as in the settings.
        version: The Delta version, or "files-" and a digest of the files' names, sizes and times.
        products: Lazy. product_id, title, description, image_path and product_category are STRING,
            priority is DOUBLE; fields without a column in the settings are NULL. Several images of
            a product are a list in JSON. `is_malformed` marks a row that the reader could not
            parse: a CSV row with surplus fields, a line that is not JSON. `has_replaced_bytes`
            marks a row with bytes that are not UTF-8; a product_id with such bytes is NULL.
        folder: Start of relative image paths by default; None for a table known by name.
        feed: The change feed; None for files, and for tables without a change feed.
    """

    name: str
    version: str
    products: DataFrame
    folder: str | None
    feed: "Feed | None" = None


@dataclass(frozen=True, slots=True)
class Feed:
    """Change feed of a Delta table, up to the version that was opened.

    Attributes:
        table_id: Delta's id of the table; another table of the same name has another id.
    """

    table_id: str
    _name: str
    _path: str | None
    _version: int
    _table: DataFrame
    _columns: ColumnNames

    def read_ids(self, since: int) -> DataFrame:
        """Return product_id of rows inserted, deleted or updated after a version; lazy.

        Spark raises if the feed starts later.
        """
        if since == self._version:
            return self._table.limit(0).select(self._read_id())
        reader = self._table.sparkSession.read.option("readChangeFeed", "true")
        reader = reader.option("startingVersion", since + 1)
        changes = reader.option("endingVersion", self._version).table(self._name)
        return changes.select(self._read_id())

    def open_stream(self) -> DataFrame:
        """Return the feed as a stream, from the version that was opened."""
        reader = self._table.sparkSession.readStream.format("delta")
        reader = reader.option("readChangeFeed", "true")
        reader = reader.option("startingVersion", self._version)
        # In streams, Delta does not accept the name of a path.
        return reader.table(self._name) if self._path is None else reader.load(self._path)

    def select(self, ids: DataFrame) -> DataFrame:
        """Return rows of `Source.products` with one of the ids, or without an id; lazy.

        Texts of the other rows are not processed.
        """
        # In a join by NULL all rows without an id would be in one task.
        none = F.concat(F.lit("\0"), F.monotonically_increasing_id())
        rows = self._table.withColumns(
            {_ID: self._read_id(), _KEY: F.coalesce(self._read_id(), none)}
        )
        wanted = ids.select(F.col("product_id").alias(_WANTED))
        rows = rows.join(wanted, F.col(_KEY) == F.col(_WANTED), "left")
        rows = rows.where(F.col(_WANTED).isNotNull() | F.col(_ID).isNull())
        return _select(rows, self._columns, F.lit(False))

    def count(self) -> int:
        """Return the number of rows, which Delta takes from its statistics."""
        reader = self._table.sparkSession.read.option("versionAsOf", self._version)
        return reader.table(self._name).count()

    def _read_id(self) -> Column:
        name = self._columns.product_id
        read = _read_column("product_id", self._table.schema[name])
        return F.when(~read.contains(REPLACED), read).alias("product_id")


def open_source(
    spark: SparkSession, location: str, columns: ColumnNames, version: str | None = None
) -> Source:
    """Open a Delta, Parquet, CSV or JSON path, or a table by name.

    Args:
        version: The version of an earlier `Source`. Delta tables are opened at that version, files
            as they are.

    Raises:
        ConfigError: The table, or that version of it, cannot be read.
        NoAnswer: The store or the metastore is out of reach.
        SchemaMismatch: A column is missing, ambiguous or of a wrong type.
    """
    is_name = "/" not in location and not Path(location).exists()
    earlier = int(version) if version and version.isdecimal() else None
    try:
        with java_log_off(spark):
            if is_name:
                return _open_table(spark, location, columns, earlier)
            return _open_path(spark, location, columns, earlier)
    except (PySparkException, Py4JJavaError, OSError) as error:
        # The path itself may hold words such as "timed out".
        messages = [message.replace(location, "") for message in messages_of(error)]
        kind = kind_of(messages, ConfigError)
        raise kind(
            f"no product table can be read at '{location}': {reason_of(error)}. "
            "Expected: a Delta, Parquet, CSV or JSON path, or a table's name (docs/input.md)"
        ) from error


def refuse_replaced(source: Source) -> None:
    """Raise NoAnswer if the table's files were replaced since the source was opened.

    Spark reads a replaced file up to the old file's size, without an error. Delta tables are pinned
    to their version.
    """
    if not source.version.startswith(_FILES_PREFIX):
        return
    try:
        is_same = _digest_files(source.products) == source.version
    except (PySparkException, Py4JJavaError):
        is_same = False  # the folder was removed, to be replaced
    if not is_same:
        raise NoAnswer(f"'{source.name}' was replaced while it was read. Run this again")


def open_image_store(source: Source, config: JobConfig) -> ImageStore:
    """Return the store of a source's pictures.

    Raises:
        ConfigError: The settings name no image root, and the source has none.
    """
    root = config.image_root or _find_image_root(source, config)
    return ImageStore(
        root,
        config.allowed_image_roots,
        config.image_limits,
        config.image_reading,
        config.image_hosts,
        config.image_lists,
    )


def _find_image_root(source: Source, config: JobConfig) -> str:
    if config.columns.image_path is None:
        return str(Path.cwd())  # no picture is read
    if source.folder is None:
        raise ConfigError(
            f"the image paths of table '{source.name}' have no root: a table known by name has no "
            "folder. Give --image-root"
        )
    try:
        parse_location(source.folder)
    except ConfigError as error:
        raise ConfigError(
            f"the image paths of '{source.name}' have no root: {error}. Give --image-root"
        ) from error
    return source.folder


def _open_table(
    spark: SparkSession, location: str, columns: ColumnNames, earlier: int | None
) -> Source:
    name = quote(location)
    details = spark.sql(f"DESCRIBE DETAIL {name}").first()
    if details is not None and details["format"] == "delta":
        return _open_delta(spark, location, name, columns, earlier, None)
    frame = spark.read.table(name)
    _check_schema(frame.schema, columns, location)
    products = _select(frame, columns, F.lit(False))
    return Source(location, _digest_files(frame), products, None)


def _open_path(
    spark: SparkSession, location: str, columns: ColumnNames, earlier: int | None
) -> Source:
    path = local_path(location).rstrip("/")
    files = _find_in_store(spark, path) if "://" in path else _find_locally(Path(path))
    if files.format == "delta":
        name = f"delta.{quote_part(files.paths[0])}"
        return _open_delta(spark, location, name, columns, earlier, files.folder)
    with session_settings(spark, _PARTITIONS_ARE_TEXT):
        frame, is_malformed = _read_files(spark, files, columns, location)
    products = _select(frame, columns, is_malformed)
    return Source(location, _digest_files(frame), products, files.folder)


def _open_delta(
    spark: SparkSession,
    location: str,
    name: str,
    columns: ColumnNames,
    earlier: int | None,
    folder: str | None,
) -> Source:
    version = earlier
    if version is None:
        newest = spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").first()
        version = newest["version"] if newest else 0
    frame = spark.read.option("versionAsOf", version).table(name)
    _check_schema(frame.schema, columns, location)
    feed = None
    if earlier is None:
        details = spark.sql(f"DESCRIBE DETAIL {name}").collect()[0]
        if details["properties"].get(_FEED_PROPERTY) == "true":
            path = None if folder is None else details["location"]
            feed = Feed(details["id"], name, path, version, frame, columns)
    return Source(location, str(version), _select(frame, columns, F.lit(False)), folder, feed)


class _Files(NamedTuple):
    """Files of a table.

    `paths` are URIs for Spark: patterns with escaped names, except for Delta. Relative image paths
    start at `folder`.
    """

    format: str
    paths: list[str]
    folder: str


def _find_in_store(spark: SparkSession, path: str) -> _Files:
    named = format_of(Path(path))
    folder = path.rpartition("/")[0] if named else path
    # Read as Parquet, a Delta table would include rows that were deleted or replaced.
    if not named or has_folder(spark, f"{path}/_delta_log"):
        return _Files("delta", [path], folder)
    return _Files(named, [escape_pattern(path)], folder)


def _find_locally(path: Path) -> _Files:
    found = find_table(path)
    escape = escape_pattern if found.format != "delta" else str
    # With a scheme; without it Spark would use the cluster's own file system.
    paths = [f"file://{escape(str(part))}" for part in found.paths]
    return _Files(found.format, paths, str(found.folder))


def _read_files(
    spark: SparkSession, files: _Files, columns: ColumnNames, location: str
) -> tuple[DataFrame, Column]:
    """Return the rows with at least the wanted columns, and a column for malformed."""
    options = {**_OPTIONS[files.format], "columnNameOfCorruptRecord": _RECORD}
    reader = spark.read.format(files.format).options(**options)
    record = StructField(_RECORD, StringType())
    if files.format == "csv":
        # The header alone, without partitions: their columns are not in the files. With multiLine,
        # Spark takes a bracket in a file's name for a pattern.
        header = {**options, "multiLine": "false", "recursiveFileLookup": "true"}
        found = spark.read.format("csv").options(**header).load(files.paths)
        # Parts with other headers are refused when they are read. A single file is not checked:
        # Spark renames columns with an empty or a repeated name, and would refuse its own header.
        reader = reader.option("enforceSchema", len(found.inputFiles()) == 1)
        frame = reader.schema(StructType([*found.schema, record])).load(files.paths)
        if is_remote():
            # A remote session reads partitions' names anew for each query, under other settings.
            frame = reader.schema(frame.schema).load(files.paths)
        _check_schema(frame.schema, columns, location)
        return frame, _is_malformed_csv(len(found.schema), options, columns)
    with session_settings(spark, _LENIENT_SCHEMA):
        schema = reader.load(files.paths).schema
    _check_schema(schema, columns, location)
    # Columns that the job ignores may be of any type.
    read = [field for field in schema if field.name in columns.model_dump().values()]
    if files.format == "parquet":
        return reader.schema(StructType(read)).load(files.paths), F.lit(False)
    frame = reader.schema(StructType([*read, record])).load(files.paths)
    # Python writes missing values as NaN.
    texts = [field.name for field in read if isinstance(field.dataType, StringType)]
    frame = frame.withColumns({n: F.nullif(_column(n), F.lit("NaN")) for n in texts})
    return frame, _with_another_column(F.col(_RECORD).isNotNull(), columns)


def _is_malformed_csv(width: int, options: dict[str, str], columns: ColumnNames) -> Column:
    """Return a column: a CSV row has surplus fields, or contains the rows after it.

    Two kinds of rows do not fit the `width` columns and are still valid: rows whose surplus fields
    are empty, and rows of a single line with too few fields.
    """
    record = F.col(_RECORD)
    names = [f"f{place}" for place in range(width + _MOST_SURPLUS)]
    fields = F.from_csv(record, ", ".join(f"{name} STRING" for name in names), options)
    surplus = F.coalesce(*(fields[name] for name in names[width:]))
    is_malformed = surplus.isNotNull() | F.coalesce(record.contains("\n"), F.lit(False))
    return _with_another_column(is_malformed, columns)


def _with_another_column(is_malformed: Column, columns: ColumnNames) -> Column:
    """Return the same value, computed from two columns.

    Spark refuses to read the column of malformed rows alone.
    """
    length = F.length(_column(columns.product_id).cast("string"))
    return F.coalesce(length >= 0, F.lit(True)) & is_malformed


def _check_schema(schema: StructType, columns: ColumnNames, location: str) -> None:
    """Raise SchemaMismatch if a column is missing, ambiguous or of a wrong type."""
    wanted = {role: name for role, name in columns.model_dump().items() if name is not None}
    fields = {field.name: field for field in schema if field.name != _RECORD}
    if missing := [name for name in wanted.values() if name not in fields]:
        raise SchemaMismatch(
            f"'{location}' has no column {', '.join(missing)}: found {', '.join(fields) or 'none'}"
            ". Name them, or null for none, under 'columns' in the settings; CSV is separated by "
            "commas and JSON has one object a line"
        )
    for role, name in wanted.items():
        alike = [other for other in fields if other.lower() == name.lower()]
        if len(alike) > 1:
            raise SchemaMismatch(
                f"'{location}' has the columns {' and '.join(alike)}: expected one {name}, as "
                "Spark does not tell capitals apart. Rename the others"
            )
        found = fields[name].dataType
        if not _is_allowed(role, found):
            others = {"priority": "a number", "image_path": "a list of strings"}
            raise SchemaMismatch(
                f"column {name} of '{location}' is of a wrong type: found {found.simpleString()}, "
                f"expected string or {others.get(role, 'a whole number')}"
            )


def _is_allowed(role: str, found: DataType) -> bool:
    if isinstance(found, NumericType):
        # NUMBER of other databases is a decimal. A Parquet column of NULLs alone is an integer.
        is_whole = isinstance(found, IntegralType)
        is_whole |= isinstance(found, DecimalType) and found.scale == 0
        return is_whole or role == "priority"
    if isinstance(found, ArrayType):
        is_texts = isinstance(found.elementType, StringType | NullType)
        return role == "image_path" and is_texts
    return isinstance(found, StringType) or found.typeName() == "void"


def _select(frame: DataFrame, columns: ColumnNames, is_malformed: Column) -> DataFrame:
    """Return the columns of `Source.products`."""
    read = {
        role: _read_column(role, None if name is None else frame.schema[name])
        for role, name in columns.model_dump().items()
    }
    # An attribute of a checkpoint may be called category.
    read["product_category"] = read.pop("category")
    texts = [name for name in read if name != "priority"]
    if _RECORD in frame.columns:
        # Quarantine shows the title, so the malformed row becomes the title.
        row = F.when(is_malformed, F.substring(F.make_valid_utf8(_RECORD), 1, LONGEST_READ))
        read["title"] = F.coalesce(read["title"], row)
    read["is_malformed"] = is_malformed
    product_id = F.col("product_id")
    return frame.select(*(column.alias(name) for name, column in read.items())).withColumns(
        {
            "has_replaced_bytes": F.concat_ws("", *texts).contains(REPLACED),
            # With replaced bytes, several ids may have become one.
            "product_id": F.when(~product_id.contains(REPLACED), product_id),
        }
    )


def _read_column(role: str, field: StructField | None) -> Column:
    column = F.lit(None) if field is None else _column(field.name)
    if role == "priority":
        # Spark sorts NaN above every number.
        return F.nanvl(column.try_cast("double"), F.lit(None).cast("double"))
    if field is not None and isinstance(field.dataType, ArrayType):
        # The same format as in enrich/images/settings.py.
        given = F.filter(column.cast("array<string>"), lambda one: one.rlike(r"(?U)\S"))
        column = F.when(F.size(given) > 1, F.to_json(given)).otherwise(F.get(given, F.lit(0)))
    # A single byte that is not UTF-8 would stop Arrow, and with it the whole run.
    text = F.make_valid_utf8(column.cast("string"))
    if role in ("product_id", "category"):
        # A blank one is missing, like an empty field of a CSV file.
        return F.when(text.rlike(r"(?U)\S"), text)
    return F.substring(text, 1, _LONGEST[role]) if role in _LONGEST else text


def _column(name: str) -> Column:
    # A name may hold dots.
    return F.col(quote_part(name))


def _digest_files(frame: DataFrame) -> str:
    """Return a version that changes with names, sizes and times of a table's files."""
    files = [escape_pattern(unquote(uri)) for uri in frame.inputFiles()]
    # This reader does not read contents that are not selected.
    listed = frame.sparkSession.read.format("binaryFile").load(files)
    rows = listed.select("path", "length", F.unix_millis("modificationTime")).collect()
    digest = hashlib.sha256("\n".join(sorted(repr(tuple(row)) for row in rows)).encode())
    return f"{_FILES_PREFIX}{digest.hexdigest()[:12]}"
