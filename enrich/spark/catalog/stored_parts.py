"""Whether the parts of a product table on a store have the same columns.

Spark does not notice: it reads CSV by position, and NULL where a Parquet file lacks a column.
"""

from collections.abc import Collection, Mapping
from math import ceil
from urllib.parse import unquote

from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from enrich.spark.catalog.local_parts import require_same_headers, require_same_types
from enrich.spark.hadoop import escape_pattern

# Files that are asked for their columns, which takes a tenth of a second or more for each.
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
        require_same_headers({file: found.names for file, found in schemas.items() if found.names})
    else:
        require_same_types({file: _simple_types(found, wanted) for file, found in schemas.items()})


def _simple_types(schema: StructType, names: Collection[str]) -> dict[str, str]:
    """Returns the types of the columns of these names, in the order of the names."""
    there = set(names).intersection(schema.names)
    return {name: schema[name].dataType.simpleString() for name in sorted(there)}
