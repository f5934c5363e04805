"""Reads JSON files of which Spark's own reader gives up some lines."""

import json
import re
from collections.abc import Collection
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    FractionalType,
    StringType,
    StructField,
    StructType,
)
from schemas.quoting import quote_part

from enrich.errors import SchemaMismatch
from enrich.spark.catalog.csv_rows import HAS_SURPLUS

# Tabs and the like, which JSON wants escaped, become blanks later.
OPTIONS = {"allowUnquotedControlChars": "true"}
# What Spark calls a line that is no JSON.
NO_JSON = "_corrupt_record"
# Where such a line is kept as it stands.
LINE = "line that is no JSON"
_NESTED = (ArrayType, StructType)
# Types that a column which is wanted as text may not have.
_NO_TEXT = (BooleanType, FractionalType)
# How NaN arrives as text: bare in lines that Spark parses, in quotation marks in those that it
# hands back whole.
_NAN = ("NaN", '"NaN"')
# What may stand between two values of one line; the mark is of a file's beginning.
_BEGIN = re.compile(r"[\s,\ufeff]*[{\[]")
# By how a line begins: without this it holds one value, and need not be decoded, which takes most
# of the time.
_MAY_GO_ON = {begin: re.compile(re.escape(end) + _BEGIN.pattern) for begin, end in ("{}", "[]")}
_DECODER = json.JSONDecoder(strict=False)


def read_objects(lines: DataFrame, columns: Collection[StructField]) -> DataFrame:
    """Returns these columns of all lines of text files; runs on the driver; lazy.

    Bytes that are no UTF-8 are replaced. A line that is no JSON even then counts as a row that `has
    surplus fields`: nobody knows of which product it is.
    """
    lines = lines.where(F.col("value").rlike(r"\S"))
    of_folders = [name for name in lines.columns if name != "value"]
    inside = StructType([column for column in columns if column.name not in of_folders])
    line = F.make_valid_utf8("value")
    # A line is an object, or an array of them.
    objects = F.from_json(line, ArrayType(inside), OPTIONS)
    unknown = F.array(F.lit(None).cast(inside))
    rows = lines.select(
        F.explode(F.coalesce(objects, unknown)).alias("row"),
        objects.isNull().alias(HAS_SURPLUS),
        F.when(objects.isNull(), line).alias(LINE),
        *of_folders,
    )
    return rows.select("row.*", HAS_SURPLUS, LINE, *of_folders)


def as_text(column: StructField, wanted: Collection[str]) -> StructField:
    """Returns the column as text, for lines in which its values have another type than in others.

    Objects and arrays stay such, and so do fractions and truth values of wanted columns: what they
    are is refused later, as it is on a night without a bad line.
    """
    stays = (*_NESTED, *_NO_TEXT) if column.name in wanted else _NESTED
    return column if isinstance(column.dataType, stays) else StructField(column.name, StringType())


def find_columns(lines: DataFrame, wanted: Collection[str]) -> list[StructField]:
    """Returns those of the columns that any object has, as text. One pass, on the driver.

    For files of which one object has a key twice: of files Spark refuses such columns, although its
    reader takes the last value, as others do. Of lines that are none of a file it infers them, once
    for each time that the key is there.
    """
    texts = lines.select(F.make_valid_utf8("value")).rdd.map(itemgetter(0))
    found: dict[str, StructField] = {}
    for column in lines.sparkSession.read.options(**OPTIONS).json(texts).schema:
        text = as_text(column, wanted)
        if column.name in wanted and (column.name not in found or text.dataType != StringType()):
            found[column.name] = text
    return list(found.values())


def without_nan(frame: DataFrame, wanted: Collection[str]) -> DataFrame:
    """Returns the rows with NULL where a wanted text is NaN, as Python writes what is missing."""
    texts = [c.name for c in frame.schema if c.name in wanted and c.dataType == StringType()]
    columns = {name: F.col(quote_part(name)) for name in texts}
    return frame.withColumns({n: F.when(~c.isin(*_NAN), c) for n, c in columns.items()})


def refuse_lost_objects(file: Path) -> None:
    """Raises SchemaMismatch for a file some products of which Spark would lose without a word.

    Of an array over several lines it loses the first line, and of several objects in one line all
    but the first. One pass.
    """
    is_begun = False
    # Spark ends a line where Python does.
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(map(str.strip, lines), 1):
            if not is_begun and line.startswith("[") and not line.endswith("]"):
                raise SchemaMismatch(
                    f"{file} holds one array over several lines; wanted: one object a line, as "
                    f"jq --compact-output '.[]' {file.name} writes them"
                )
            is_begun = is_begun or bool(line)
            if _goes_on(line):
                raise SchemaMismatch(
                    f"line {number:,} of {file} holds several objects; wanted: one object a line "
                    f"and nothing behind it, as jq --compact-output . {file.name} writes them"
                )


def _goes_on(line: str) -> bool:
    """Returns whether another value stands in a line behind its first object or array."""
    may_go_on = _MAY_GO_ON.get(line[:1])
    if may_go_on is None or not may_go_on.search(line):
        return False
    with suppress(ValueError, RecursionError):
        end = _DECODER.raw_decode(line)[1]
        return _BEGIN.match(line, end) is not None
    return False
