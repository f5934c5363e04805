"""Reads CSV files, and tells the rows that have more fields than the header has columns.

A title of Red, large shirt without quotation marks is two fields. Spark drops the last field of
such a row without a word, and all that follows the comma stands under the wrong names.
"""

import re
from collections.abc import Collection, Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

HAS_SURPLUS = "has surplus fields"
# Spark keeps here what has more fields, or fewer, than the schema.
_ROW = "the row as it stands"
# Of so many surplus fields it is looked at whether they are empty.
_MOST_SURPLUS = 8
# What Spark calls a column without a name, such as that behind a comma at the header's end.
_NAMELESS = re.compile(r"_c\d+")


def read_csv_rows(
    spark: SparkSession,
    files: str | list[str],
    options: Mapping[str, str],
    wanted: Collection[str],
) -> DataFrame:
    """Returns the rows, all columns text, and whether each `has surplus fields`.

    Empty ones do not count: commas at the end of a row move nothing. Columns at the end without a
    name are left out, unless they are wanted by the name that Spark gives them (_c7). Behind those
    of the files stand the columns that partitions are. Runs on the driver; lazy.
    """
    reader = spark.read.format("csv").options(**options)
    columns = _find_columns(spark, files, options)
    while columns and _NAMELESS.fullmatch(columns[-1].name) and columns[-1].name not in wanted:
        columns.pop()
    with_row = StructType([*columns, StructField(_ROW, StringType())])
    rows = reader.option("columnNameOfCorruptRecord", _ROW).schema(with_row).load(files)
    names = [f"f{place}" for place in range(len(columns) + _MOST_SURPLUS)]
    fields = F.from_csv(_ROW, ", ".join(f"{name} STRING" for name in names), dict(options))
    surplus = F.coalesce(*(fields[name] for name in names[len(columns) :]))
    return rows.withColumn(HAS_SURPLUS, surplus.isNotNull()).drop(_ROW)


def _find_columns(
    spark: SparkSession, files: str | list[str], options: Mapping[str, str]
) -> list[StructField]:
    """Returns the columns that the files have, without those that partitions are.

    One that is both has another name here: told its own, Spark would look for it in the folders
    alone, and every field behind it would move up.
    """
    _, *of_folders = spark.read.options(**options).text(files).columns
    reader = spark.read.format("csv").options(**options)
    if of_folders:
        reader = reader.option("recursiveFileLookup", "true")  # which takes no folder for a column
    taken = {name.lower() for name in of_folders}
    return [
        StructField(f"{column.name} in the file", StringType())
        if column.name.lower() in taken
        else column
        for column in reader.load(files).schema
    ]
