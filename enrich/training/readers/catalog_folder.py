"""A catalog folder: this project's own layout.

It holds `products.parquet`, `labels.parquet` (product_id, one column an attribute, NULL =
unlabelled, and maybe group_id; NULL, or no such column = in the group of those that share a text or
a picture; or product_id, attribute, label) and the images. Either table may be a folder, as Spark
writes it. Further columns of `products.parquet`, such as categories, can be trained on as
attributes too, unless they hold bytes or lists; they are never shown to a classifier. Rows without
a product_id are left out.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from enrich.errors import ConfigError, name_some
from enrich.files.tables import read_table, select_text
from enrich.progress import say
from enrich.training.readers.groups import name_groups
from enrich.training.readers.rows import LabelledRows, as_texts

_REQUIRED = {
    "products.parquet": ("product_id", "title", "description", "image_path"),
    "labels.parquet": ("product_id",),
}
# Read as text where labels.parquet has it, whatever its type.
_GROUP = "group_id"


def read_catalog_folder(folder: Path) -> LabelledRows:
    """Reads the labelled products of a catalog folder.

    Raises:
        ConfigError: a file or a column is missing or cannot be read, or a labelled
            product is in one of them twice.
    """
    products, labels = (_read_as_text(folder / name, wanted) for name, wanted in _REQUIRED.items())
    products = products.drop(columns=_GROUP, errors="ignore")
    labels = _as_columns(labels, folder / "labels.parquet")
    _require_one_row_each(labels, folder / "labels.parquet")
    if lost := (labels["product_id"][~labels["product_id"].isin(products["product_id"])]).tolist():
        say(
            f"{len(lost):,} of {len(labels):,} labelled products of {folder} are not in its "
            f"products.parquet, such as {name_some(lost)}"
        )
    attributes = [column for column in labels.columns if column not in ("product_id", _GROUP)]
    joined = products.merge(
        labels.rename(columns={attribute: f"label {attribute}" for attribute in attributes}),
        on="product_id",
    )
    _require_one_row_each(joined, folder / "products.parquet")
    named = {*_REQUIRED["products.parquet"], *attributes}
    categories = [column for column in products.columns if column not in named]
    shown = [as_texts(joined[name]) for name in ("title", "description", "image_path")]
    titles, descriptions, image_paths = shown
    given = as_texts(joined[_GROUP]) if _GROUP in joined else [None] * len(joined)
    return LabelledRows(
        root=folder,
        titles=titles,
        descriptions=descriptions,
        image_paths=image_paths,
        groups=name_groups(given, joined["product_id"].tolist(), *shown),
        labels={category: as_texts(joined[category]) for category in categories}
        | {attribute: as_texts(joined[f"label {attribute}"]) for attribute in attributes},
    )


def _as_columns(labels: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return a column an attribute, also of labels with a row each, as people's labels come."""
    if not {"attribute", "label"} <= {*labels.columns}:
        return labels
    key = ["product_id", "attribute"]
    if (is_again := labels.duplicated(key)).any():
        twice = labels["product_id"][is_again].iloc[0]
        raise ConfigError(f"{file} labels an attribute of product {twice!r} twice; wanted: once")
    return labels.pivot(index="product_id", columns="attribute", values="label").reset_index()


def _require_one_row_each(products: pd.DataFrame, file: Path) -> None:
    if (is_again := products["product_id"].duplicated()).any():
        twice = products["product_id"][is_again].iloc[0]
        raise ConfigError(f"{file} has more than one row of product {twice!r}; wanted: one")


def _read_as_text(file: Path, wanted: tuple[str, ...]) -> pd.DataFrame:
    if not file.exists():
        raise ConfigError(f"no {file.name} in {file.parent}; wanted: {', '.join(wanted)}")
    table = read_table(file)
    further = [
        one.name
        for one in table.schema
        if one.name not in wanted and (one.name == _GROUP or _is_plain(one.type))
    ]
    # Made text by Arrow: pandas would make 7.0 of a 7 in a column with a NULL.
    return select_text(table, [*wanted, *further], file).to_pandas().dropna(subset="product_id")


def _is_plain(kind: pa.DataType) -> bool:
    """Tells whether a column may be a category or a label: no thumbnail, no embedding."""
    is_bytes = (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
    return not (is_bytes or pa.types.is_nested(kind))
