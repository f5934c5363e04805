"""Whether the parts of a product table on a store have the same columns.

Spark does not notice: it reads CSV by position, and NULL where a Parquet file lacks a column.
"""

from collections.abc import Collection, Mapping
from math import ceil
from urllib.parse import unquote

from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from enrich.spark.catalog.files import escape_pattern, require_same_columns

# A question each, of a tenth of a second and more.
_MOST_ASKED = 100


def refuse_unlike_parts(
    frame: DataFrame, kind: str, options: Mapping[str, str], wanted: Collection[str]
) -> None:
    """Compares the columns of a table's files, of very many only those of some.

    Runs on the driver; asks each file for its columns.

    Raises:
        SchemaMismatch: CSV files have different columns, or Parquet files different ones of those
            that are wanted.
    """
    files = sorted(map(unquote, frame.inputFiles()))
    asked = files[:: ceil(len(files) / _MOST_ASKED) or 1]
    if len(asked) < 2:
        return
    reader = frame.sparkSession.read.format(kind).options(**options)
    schemas = {file: reader.load(escape_pattern(file)).schema for file in asked}
    if kind == "csv":
        headers = {file: schema.names for file, schema in schemas.items() if schema.names}
        require_same_columns(headers, "the same in the same order")
    else:
        described = {file: _describe(schema, wanted) for file, schema in schemas.items()}
        require_same_columns(described, "the same, of the same types, be it NULL,")


def _describe(schema: StructType, wanted: Collection[str]) -> list[str]:
    found = [column for column in schema if column.name in wanted]
    return sorted(f"{column.name} {column.dataType.simpleString()}" for column in found)
