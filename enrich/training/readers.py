"""Readers of labelled catalogs by layout, and groups of near-identical products.

`read_labelled` takes what `--catalog` names: a catalog folder, or `LAYOUT:PATH`. A reader returns
`LabelledRows`; `enrich.training.labelled` numbers their labels and splits their groups.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from enrich.errors import ConfigError, name_some
from enrich.files.labels import ABOUT, FOR_PEOPLE
from enrich.files.tables import read_table, select_text
from enrich.images.store import ImageStore
from enrich.settings_files import load_yaml
from enrich.terminal import say
from enrich.text import build_text


def group_near_identical(
    texts: Sequence[str], pictures: Sequence[str | None], most_texts: int
) -> np.ndarray:
    """Return each product's group (N,), numbered by their first products.

    Products that share a text or a picture are in the same one, and so are those that are linked by
    others. Products of one text are often one product in several colors, and those of one picture
    one product under several names. A text or a picture that is missing is shared with none.

    Texts are as `build_text` returns them, "" for a missing one, and pictures are paths, or what
    `identify_pictures` makes of them. A picture under more than `most_texts` different texts is a
    placeholder, and makes no products alike.
    """
    rows = np.arange(len(texts))
    text_of, _ = pd.factorize(np.array(texts, dtype=object))
    picture_of, names = pd.factorize(np.array([(p or "").strip() for p in pictures], dtype=object))
    of_picture = np.unique(picture_of * len(rows) + text_of) // max(1, len(rows))
    is_placeholder = np.bincount(of_picture, minlength=len(names)) > most_texts
    has_text = np.array([bool(text) for text in texts], dtype=bool)
    has_picture = ~(is_placeholder | (names == ""))[picture_of]
    # A graph of products, texts and pictures: what hangs together is a group.
    products = np.concatenate([rows[has_text], rows[has_picture]])
    shared = np.concatenate([text_of[has_text], len(rows) + picture_of[has_picture]]) + len(rows)
    size = max(1, 3 * len(rows))
    graph = sparse.coo_array((np.ones(len(products)), (products, shared)), shape=(size, size))
    _, groups = sparse.csgraph.connected_components(graph, directed=False)
    return pd.factorize(groups[: len(rows)])[0]


def identify_pictures(root: Path | str, paths: Iterable[str | None]) -> list[str | None]:
    """Return a digest of each picture's bytes.

    A picture that is no local file is known by root and path. Shops copy a picture for each size of
    an article, under a name of its own.
    """
    store = ImageStore(str(root))

    def identify(path: str) -> str:
        if file := store.find_local(path):
            with contextlib.suppress(OSError, ValueError):
                return _digest_file(file)
        return f"{root}/{path}"

    return [path and identify(path) for path in paths]


# Groups, leaks and the model card ask for the same pictures.
@cache
def _digest_file(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


# Sizes of one article, each with a text of its own, are fewer.
MOST_TEXTS_OF_A_PICTURE = 20


class Split(IntEnum):
    """The use of a product in training."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Labelled products of one catalog; all lists have the same length.

    Image paths start from `root`, `groups` names groups of near-identical products, unlabelled
    products have None in `labels`, and `split` is the published one, if there is one.
    """

    root: Path
    titles: list[str | None]
    descriptions: list[str | None]
    image_paths: list[str | None]
    groups: list[str]
    labels: dict[str, list[str | None]]
    split: list[Split] | None = None

    def __len__(self) -> int:
        return len(self.titles)

    def where(self, kept: np.ndarray) -> "LabelledRows":
        """Select rows by a mask."""

        def select(column: list[Any]) -> list[Any]:
            return [value for value, keep in zip(column, kept, strict=True) if keep]

        return LabelledRows(
            root=self.root,
            titles=select(self.titles),
            descriptions=select(self.descriptions),
            image_paths=select(self.image_paths),
            groups=select(self.groups),
            labels={attribute: select(column) for attribute, column in self.labels.items()},
            split=None if self.split is None else select(self.split),
        )


def as_texts(column: pd.Series) -> list[str | None]:
    """Return the values of a column as text, None for missing or empty ones."""
    return [None if value is pd.NA else value or None for value in column.astype("string")]


def name_groups(
    root: Path,
    given: Sequence[str | None],
    own: Sequence[str],
    titles: Sequence[str | None],
    descriptions: Sequence[str | None],
    image_paths: Sequence[str | None],
) -> list[str]:
    """Name the group of each row; given names stay.

    Rows without a given name that share a text or a picture are one group. Its name is the least of
    the names given to them, else of their own names, whatever the order of the rows. Products that
    are added or removed may change that name, and with it the split of the group: only given names
    keep splits stable.
    """
    named = [(name or "").strip() for name in given]
    if all(named):
        return named
    texts = [build_text(*both) for both in zip(titles, descriptions, strict=True)]
    pictures = identify_pictures(root, image_paths)
    alike = group_near_identical(texts, pictures, MOST_TEXTS_OF_A_PICTURE).tolist()
    least: dict[int, tuple[bool, str]] = {}
    for group, name, without in zip(alike, named, own, strict=True):
        rank = (not name, name or without)
        least[group] = min(rank, least.get(group, rank))
    return [name or least[group][1] for group, name in zip(alike, named, strict=True)]


_REQUIRED = {
    "products.parquet": ("product_id", "title", "description", "image_path"),
    "labels.parquet": ("product_id",),
}
_GROUP = "group_id"


def read_catalog_folder(folder: Path) -> LabelledRows:
    """Read the labelled products of a catalog folder, this project's own layout.

        products.parquet    product_id, title, description, image_path
        labels.parquet      product_id and one column an attribute (NULL is unlabelled), or
                            product_id, attribute, label; maybe group_id

    Either table may be a folder, as Spark writes it. Rows without a group_id that share a text or a
    picture are one group. Rows without a product_id are left out, and so are columns of
    labels.parquet that are about the product or the label, such as title or by. Further columns of
    products.parquet, except bytes and lists, can be trained on as attributes; no classifier reads
    them. Raises ConfigError if a file or a column is missing or cannot be read, or a labelled
    product is in one of them twice.
    """
    products, labels = (_read_as_text(folder / name, wanted) for name, wanted in _REQUIRED.items())
    products = products.drop(columns=_GROUP, errors="ignore")
    labels = _as_columns(labels, folder / "labels.parquet")
    _require_one_each(labels, "product_id", "row", folder / "labels.parquet")
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
    _require_one_each(joined, "product_id", "row", folder / "products.parquet")
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
        groups=name_groups(folder, given, joined["product_id"].tolist(), *shown),
        labels={category: as_texts(joined[category]) for category in categories}
        | {attribute: as_texts(joined[f"label {attribute}"]) for attribute in attributes},
    )


def _as_columns(labels: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return one column an attribute, also of tables with a row a label."""
    if not {"attribute", "label"} <= {*labels.columns}:
        return labels.drop(columns=[*FOR_PEOPLE, *ABOUT], errors="ignore")
    _require_one_each(labels, ["product_id", "attribute"], "label of an attribute", file)
    columns = labels.pivot(index="product_id", columns="attribute", values="label")
    if _GROUP in labels:
        groups = labels.dropna(subset=_GROUP).drop_duplicates(["product_id", _GROUP])
        _require_one_each(groups, "product_id", _GROUP, file)
        columns[_GROUP] = groups.set_index("product_id")[_GROUP]
    return columns.reset_index()


def _require_one_each(table: pd.DataFrame, key: str | list[str], what: str, file: Path) -> None:
    """Raise ConfigError if a product has more than one row of a key."""
    if (is_again := table.duplicated(key)).any():
        twice = table["product_id"][is_again].iloc[0]
        raise ConfigError(
            f"{file} is not clear about product {twice!r}: found more than one {what}, expected one"
        )


def _read_as_text(file: Path, wanted: tuple[str, ...]) -> pd.DataFrame:
    if not file.exists():
        columns = ", ".join(wanted)
        raise ConfigError(f"{file} is missing: expected a table with the columns {columns}")
    table = read_table(file)
    further = [
        one.name
        for one in table.schema
        if one.name not in wanted and (one.name == _GROUP or _is_plain(one.type))
    ]
    # Made text by Arrow: pandas would make 7.0 of a 7 in a column with a NULL.
    return select_text(table, [*wanted, *further], file).to_pandas().dropna(subset="product_id")


def _is_plain(kind: pa.DataType) -> bool:
    """Check that a column may be a category or a label, not bytes or lists."""
    is_bytes = (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
    return not (is_bytes or pa.types.is_nested(kind))


_SPLITS = {
    "train": Split.TRAIN,
    "validation": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "test": Split.TEST,
}


class TableDescription(BaseModel):
    """Path of a table, Parquet, CSV or JSON, and names of its columns, as a YAML file.

        table: products.csv
        image_root: photos
        title: name
        description: null           # a column that the table lacks
        image_path: picture
        labels: {color: base_colour, style: usage}

    Paths start from the folder of the description, image paths from `image_root`. `labels` maps
    attributes to columns. Rows of the same `group_id` are near-identical products; without it, rows
    that share a text or a picture are. `split` has the values train, validation and test.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: Path
    image_root: Path = Path()
    title: str | None = "title"
    description: str | None = "description"
    image_path: str | None = "image_path"
    group_id: str | None = None
    split: str | None = None
    labels: dict[str, str] = Field(min_length=1)


def read_described_table(file: Path) -> LabelledRows:
    """Read the table of a description."""
    described = load_yaml(file, TableDescription)
    columns = _read_columns(file, described)
    titles, descriptions = columns[described.title], columns[described.description]
    image_paths = columns[described.image_path]
    own = [
        " ".join(filter(None, texts)) or path or f"row {row}"
        for row, (path, *texts) in enumerate(zip(image_paths, titles, descriptions, strict=True))
    ]
    root = file.parent / described.image_root
    given = columns[described.group_id]
    return LabelledRows(
        root=root,
        titles=titles,
        descriptions=descriptions,
        image_paths=image_paths,
        groups=name_groups(root, given, own, titles, descriptions, image_paths),
        labels={attribute: columns[column] for attribute, column in described.labels.items()},
        split=_read_split(described, columns[described.split]) if described.split else None,
    )


def _read_columns(file: Path, described: TableDescription) -> dict[str | None, list[str | None]]:
    """Return the described columns by name, and an empty one under None."""
    source = file.parent / described.table
    table = read_table(source)
    roles = described.title, described.description, described.image_path, described.group_id
    every = (*roles, described.split, *described.labels.values())
    named = {name for name in every if name is not None}
    if lacking := sorted(named.difference(table.column_names)):
        raise ConfigError(
            f"{source} lacks the column {', '.join(lacking)}: found "
            f"{', '.join(table.column_names)}. Correct {file}, with null for columns that the "
            "table lacks."
        )
    columns = select_text(table, sorted(named), source).to_pydict()
    filled = {name: [value or None for value in column] for name, column in columns.items()}
    return {**filled, None: [None] * len(table)}


def _read_split(described: TableDescription, values: list[str | None]) -> list[Split]:
    split = [_SPLITS.get((value or "").strip().lower()) for value in values]
    known = [value for value in split if value is not None]
    if len(known) < len(split):
        raise ConfigError(
            f"{described.table} has an unknown split in column {described.split}: found "
            f"{values[split.index(None)]!r}, expected one of {', '.join(_SPLITS)}"
        )
    return known


LAYOUTS: dict[str, Callable[[Path], LabelledRows]] = {
    "catalog": read_catalog_folder,
    "table": read_described_table,
}


def read_labelled(catalog: Path) -> LabelledRows:
    """Read all labelled products of a catalog, given as a folder or as `LAYOUT:PATH`."""
    layout, path = locate(catalog)
    if layout not in LAYOUTS:
        raise ConfigError(
            f"catalog {catalog} is unknown: expected a folder, or LAYOUT:PATH with one of "
            f"{', '.join(LAYOUTS)}"
        )
    return LAYOUTS[layout](path)


def locate(catalog: Path) -> tuple[str, Path]:
    """Return the layout and the path of a catalog."""
    layout, colon, path = str(catalog).partition(":")
    return (layout, Path(path)) if colon and not catalog.exists() else ("catalog", catalog)
