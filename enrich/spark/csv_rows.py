"""Reads CSV files, and tells the rows that have more fields than the header has columns.

A title of Red, large shirt without quotation marks is two fields. Spark drops the last field of
such a row without a word, and all that follows the comma stands under the wrong names.
"""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

HAS_SURPLUS = "has surplus fields"
# Spark keeps here what has more fields, or fewer, than the schema.
_ROW = "the row as it stands"


def read_csv(spark: SparkSession, files: str | list[str], options: Mapping[str, str]) -> DataFrame:
    """Returns the rows, all columns text, and whether each `has surplus fields`.

    Empty ones do not count: commas at the end of a row move nothing. Runs on the driver; lazy.
    """
    reader = spark.read.format("csv").options(**options)
    columns = reader.load(files).schema.fields
    with_row = StructType([*columns, StructField(_ROW, StringType())])
    rows = reader.option("columnNameOfCorruptRecord", _ROW).schema(with_row).load(files)
    fields = ", ".join(f"f{place} STRING" for place in range(len(columns) + 1))
    surplus = F.from_csv(_ROW, fields, dict(options))[f"f{len(columns)}"]
    return rows.withColumn(HAS_SURPLUS, surplus.isNotNull()).drop(_ROW)
