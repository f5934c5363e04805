"""Product tables read without Spark: location, products and categories."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from enrich.config import ColumnNames, JobConfig
from enrich.errors import ConfigError
from enrich.files.tables import find_table, format_of, read_table, select_text
from enrich.images.locations import local_path
from enrich.records import Product

_COLUMNS = [field.name for field in dataclasses.fields(Product)]


@dataclass(frozen=True, slots=True)
class Source:
    """A product table on this machine, and the settings to read and answer it.

    `table` is a file, a folder of files or a Delta folder. Relative image paths start from `folder`
    where the settings name no image root.
    """

    table: Path
    folder: Path
    settings: JobConfig

    @property
    def image_root(self) -> str:
        """The folder or URI where relative image paths start."""
        return self.settings.image_root or str(self.folder)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The products of a table by id, and the categories of products that have one.

    Of rows with the same id the first by title, description, image path and category counts, as in
    a run. Rows without an id are left out. There are no categories where the settings name no
    column for them.
    """

    table: Path
    products: dict[str, Product]
    categories: dict[str, str]


def open_source(settings: JobConfig) -> Source:
    """Find the product table of the settings, as the main job does.

    See docs/input.md. Raises ConfigError if nothing is there, or only Spark can read it: a table's
    name or a URI.
    """
    location = settings.catalog
    path = Path(local_path(location))
    if "://" in local_path(location):
        raise ConfigError(
            f"{location} cannot be read without Spark: found a URI, expected a local file or "
            "folder. Copy the table to this machine."
        )
    if is_table_name(location):
        raise ConfigError(
            f"{location} cannot be read without Spark: found no file or folder of this name, so it "
            "is taken for a table's. Correct the path, or give the folder that the table lies in."
        )
    if not path.exists():
        raise ConfigError(f"no product table is at {path}: the file or folder does not exist.")
    try:
        found = find_table(path)
    except FileNotFoundError as error:
        raise ConfigError(f"no product table can be read: {error}.") from error
    return Source(found.table, found.folder, settings)


def is_table_name(location: str) -> bool:
    """Return True for the name of a table, which only Spark can read."""
    return "/" not in location and not Path(location).exists() and not format_of(Path(location))


def read_products(
    table: Path, limit: int | None = None, columns: ColumnNames | None = None
) -> pa.Table:
    """Return the columns of `Product` of a product table as strings.

    The table is a file, a folder of files or a Delta folder. A column without a name in `columns`
    is null. A list of images becomes a text in JSON, as `ImageLists` reads it. Raises ConfigError
    if the table cannot be read, and SchemaMismatch if a column is missing or cannot be read as
    text.
    """
    return _read_columns(table, columns or ColumnNames()).select(_COLUMNS).slice(0, limit)


def _read_columns(table: Path, columns: ColumnNames) -> pa.Table:
    """Return all columns of `ColumnNames` as strings."""
    names = columns.model_dump()
    given = {role: name for role, name in names.items() if name is not None}
    rows = _lists_as_text(read_table(table), columns.image_path)
    read = dict(zip(given, select_text(rows, list(given.values()), table).columns, strict=True))
    nothing = pa.nulls(rows.num_rows, pa.string())
    return pa.table({role: read.get(role, nothing) for role in names})


def _lists_as_text(table: pa.Table, name: str | None) -> pa.Table:
    place = -1 if name is None else table.schema.get_field_index(name)
    if place < 0 or not _is_list_of_texts(table.schema.field(place).type):
        return table
    lists = table[place].cast(pa.list_(pa.binary())).to_pylist()
    given = ([image.decode(errors="replace") for image in one or () if image] for one in lists)
    texts = [_write_images([image for image in one if image.strip()]) for one in given]
    return table.set_column(place, name, pa.array(texts, pa.string()))


def _write_images(images: list[str]) -> str | None:
    """Return a list of images as Spark writes it: stored encodings are found by it."""
    if len(images) > 1:
        return json.dumps(images, ensure_ascii=False, separators=(",", ":"))
    return images[0] if images else None


def _is_list_of_texts(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return any(is_kind(kind.value_type) for is_kind in texts)


def read_catalog(table: Path, columns: ColumnNames | None = None) -> Catalog:
    """Return the products of a table, each once; raises as `read_products` does."""
    kept: dict[str, dict[str, str | None]] = {}
    for row in _read_columns(table, columns or ColumnNames()).to_pylist():
        product_id = row["product_id"]
        if product_id is None:
            continue
        if product_id not in kept or _order(row) < _order(kept[product_id]):
            kept[product_id] = row
    return Catalog(
        table,
        {key: _to_product(row) for key, row in kept.items()},
        {key: name for key, row in kept.items() if (name := row["category"]) and name.strip()},
    )


def _to_product(row: Mapping[str, Any]) -> Product:
    return Product(**{name: row[name] for name in _COLUMNS})


def _order(row: Mapping[str, str | None]) -> list[tuple[bool, str]]:
    """Return the sort key of rows with one id, of which a run keeps the first."""
    told = (row[name] for name in (*_COLUMNS, "category"))
    return [(value is None, value or "") for value in told]


def find_product(table: Path, product_id: str, columns: ColumnNames | None = None) -> Product:
    """Return the product of that id.

    Raises as `read_products` does, and ConfigError if the table has no such product.
    """
    products = _read_columns(table, columns or ColumnNames())
    rows = products.filter(pc.equal(products["product_id"], product_id)).to_pylist()
    if not rows:
        known = ", ".join(map(repr, products["product_id"].slice(0, 3).to_pylist()))
        raise ConfigError(
            f"{table} has no product '{product_id}' among its {products.num_rows:,}; "
            f"the first are {known}"
        )
    return _to_product(min(rows, key=_order))
