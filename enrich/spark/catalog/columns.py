"""The columns of a product table that a run reads, named after their roles; all others are left."""

from collections.abc import Collection, Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DataType,
    DecimalType,
    IntegralType,
    NumericType,
    StringType,
    StructField,
)
from schemas.quoting import quote_part

from enrich.config import ColumnNames
from enrich.errors import SchemaMismatch
from enrich.files.csv_files import explain_separator
from enrich.images.locations import LONGEST_PATH
from enrich.spark.catalog.csv_rows import HAS_SURPLUS
from enrich.spark.catalog.json_rows import LINE, NO_JSON
from enrich.text import LONGEST_READ, REPLACED

# What a role's column may be; all others are text.
_ALLOWED: dict[str, tuple[type[DataType], ...]] = {
    "product_id": (StringType, IntegralType),
    "category": (StringType, IntegralType),
    # A CSV file has nothing but text.
    "priority": (NumericType, StringType),
}
# Where Spark writes down what a text was declared as.
_DECLARED = "__CHAR_VARCHAR_TYPE_STRING"
# In characters: as much of a text as is looked at, and of a path as shows that it is too long.
# Uncut, thousands of descriptions of megabytes would make one Arrow batch, for which no memory is
# enough.
_LONGEST = {"title": LONGEST_READ, "description": LONGEST_READ, "image_path": LONGEST_PATH + 1}


def select_columns(frame: DataFrame, columns: ColumnNames, location: str) -> DataFrame:
    """Returns the columns of `CatalogSnapshot.products`, lazily.

    Raises:
        SchemaMismatch: a column is missing or of a wrong type.
    """
    fields = {field.name: field for field in frame.schema if field.name not in (HAS_SURPLUS, LINE)}
    roles = columns.model_dump()
    _refuse_missing(frame, fields, [name for name in roles.values() if name], location)
    _refuse_other_types(fields, roles, location)
    # Not `category`: an attribute of a checkpoint may be called that.
    output = {role: role for role in roles} | {"category": "product_category"}
    read = {
        output[role]: _read_column(role, None if name is None else fields[name])
        for role, name in roles.items()
    }
    if LINE in frame.columns:
        # So that quarantine shows the line, which has no title of its own.
        read["title"] = F.coalesce(read["title"], F.substring(LINE, 1, _LONGEST["title"]))
    may_have = HAS_SURPLUS in frame.columns
    read["has_surplus_fields"] = F.col(HAS_SURPLUS) if may_have else F.lit(False)
    selected = frame.select(*(column.alias(name) for name, column in read.items()))
    texts = [name for name in read if name not in ("priority", "has_surplus_fields")]
    product_id = F.col("product_id")
    return selected.withColumns(
        {
            "has_replaced_bytes": F.concat_ws("", *texts).contains(REPLACED),
            # Several ids may have become one, and which of them a row had nobody knows.
            "product_id": F.when(~product_id.contains(REPLACED), product_id),
        }
    )


def _refuse_missing(
    frame: DataFrame, fields: Collection[str], wanted: Collection[str], location: str
) -> None:
    if [*fields] == [NO_JSON]:
        raise SchemaMismatch(
            f"no line of '{location}' is a JSON object; wanted: one object a line, in UTF-8, not "
            "compressed"
        )
    if missing := [name for name in wanted if name not in fields]:
        is_csv = HAS_SURPLUS in frame.columns and LINE not in frame.columns
        if is_csv and (problem := explain_separator(",".join(fields))) is not None:
            raise SchemaMismatch(f"'{location}' cannot be read: {problem}")
        raise SchemaMismatch(
            f"'{location}' has no column {', '.join(missing)}; it has "
            f"{', '.join(fields) or 'none'}. "
            "jobs/enrich_catalog.py maps other names, and null for none, under 'columns' in its "
            "configuration"
        )


def _refuse_other_types(
    fields: Mapping[str, StructField], roles: Mapping[str, str | None], location: str
) -> None:
    for role, name in roles.items():
        allowed = _ALLOWED.get(role, (StringType,))
        if name is not None and not _is_allowed(fields[name].dataType, allowed):
            raise SchemaMismatch(
                f"column {name} of '{location}' is {fields[name].dataType.simpleString()}; wanted "
                f"{' or '.join(kind.typeName() for kind in allowed)}"
            )


def _is_allowed(found: DataType, allowed: tuple[type[DataType], ...]) -> bool:
    # Such as NUMBER of other databases, and integers too large for a BIGINT.
    is_whole = isinstance(found, DecimalType) and found.scale == 0
    # A column without any value is void.
    is_void = found.typeName() == "void"
    return isinstance(found, allowed) or is_void or (is_whole and IntegralType in allowed)


def _read_column(role: str, field: StructField | None) -> Column:
    column = F.lit(None) if field is None else F.col(quote_part(field.name))
    if role == "priority":
        # To Spark NaN is above every number.
        return F.nanvl(column.try_cast("double"), F.lit(None).cast("double"))
    # One byte that is no UTF-8 stops Arrow, and with it the whole run.
    text = F.make_valid_utf8(column.cast("string"))
    if field is not None and field.metadata.get(_DECLARED, "").startswith("char"):
        # Blanks at the end are the type's, not the value's.
        text = F.rtrim(text)
    if role == "product_id":
        # A blank is no id, as in a CSV file an empty one is none.
        return F.when(text.rlike(r"(?U)\S"), text)
    return F.substring(text, 1, _LONGEST[role]) if role in _LONGEST else text
