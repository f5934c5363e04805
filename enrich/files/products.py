"""Reads the product table of the jobs that run without Spark. Knows nothing of images."""

import dataclasses
import json
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from enrich.config import ColumnNames
from enrich.errors import ConfigError
from enrich.files.tables import read_table, select_text
from enrich.records import Product
from enrich.text import REPLACED

_COLUMNS = [field.name for field in dataclasses.fields(Product)]


def read_products(
    file: Path, limit: int | None = None, columns: ColumnNames | None = None
) -> pa.Table:
    """Returns the four input columns of a Parquet, CSV or JSON file as strings.

    A list of images becomes a text as in JSON (enrich/images/lists.py).

    Args:
        file: The file.
        limit: How many rows to read.
        columns: What the file calls the columns. One that it has not is null.

    Raises:
        ConfigError: the file cannot be read, or is a folder in which a product table lies.
        SchemaMismatch: a column is missing or cannot be read as text.
    """
    # As labelled catalogs are, which training wants as folders.
    if tables := sorted(file.glob("products.*")):
        raise ConfigError(
            f"{file} is a folder with {' and '.join(table.name for table in tables)} in it; wanted "
            f"here: the product table itself, {tables[0]}"
        )
    names = (columns or ColumnNames()).model_dump(include=set(_COLUMNS))
    given = {role: name for role, name in names.items() if name is not None}
    table = _lists_as_text(read_table(file), given.get("image_path"))
    read = dict(zip(given, select_text(table, list(given.values()), file).columns, strict=True))
    nothing = pa.nulls(table.num_rows, pa.string())
    return pa.table({role: read.get(role, nothing) for role in _COLUMNS}).slice(0, limit)


def _lists_as_text(table: pa.Table, name: str | None) -> pa.Table:
    place = -1 if name is None else table.schema.get_field_index(name)
    if place < 0 or not _is_list_of_texts(table.schema.field(place).type):
        return table
    lists = table[place].cast(pa.list_(pa.binary())).to_pylist()
    given = ([image.decode(errors="replace") for image in one or () if image] for one in lists)
    texts = [json.dumps(one, ensure_ascii=False) if one else None for one in given]
    return table.set_column(place, name, pa.array(texts, pa.string()))


def _is_list_of_texts(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return any(is_kind(kind.value_type) for is_kind in texts)


def count_replaced(products: pa.Table) -> tuple[int, int]:
    """Returns how many rows hold bytes that were no UTF-8, and how many of them in product_id."""
    found = {
        name: pc.fill_null(pc.match_substring(products[name], REPLACED), False) for name in _COLUMNS
    }
    in_row = reduce(pc.or_, found.values())
    return pc.sum(in_row, min_count=0).as_py(), pc.sum(found["product_id"], min_count=0).as_py()


def read_unique_products(file: Path) -> list[Product]:
    """Returns the file's products; of rows with the same id the first, and none without one.

    Raises:
        ConfigError: the file cannot be read.
        SchemaMismatch: a column is missing or cannot be read as text.
    """
    products: dict[str, Product] = {}
    for row in read_products(file).to_pylist():
        if row["product_id"] is not None:
            products.setdefault(row["product_id"], Product(**row))
    return list(products.values())


def find_product(file: Path, product_id: str) -> Product:
    """Returns the first product of that id.

    Raises:
        ConfigError: the file cannot be read, or has no such product.
    """
    table = read_products(file)
    rows = table.filter(pc.equal(table["product_id"], product_id)).slice(0, 1).to_pylist()
    if not rows:
        known = ", ".join(map(repr, table["product_id"].slice(0, 3).to_pylist()))
        raise ConfigError(
            f"{file} has no product '{product_id}' among its {table.num_rows:,}; "
            f"the first are {known}"
        )
    return Product(**rows[0])
