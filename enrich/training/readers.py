"""Readers of labelled catalogs, one function for each layout.

`read_labelled` takes what `--catalog` names: a catalog folder, or `LAYOUT:PATH`. A reader returns
`LabelledRows`; `enrich.training.labelled` numbers their labels and splits their groups.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from enrich.errors import ConfigError, name_some
from enrich.files.tables import read_table, select_text
from enrich.near_identical import group_near_identical
from enrich.progress import say
from enrich.settings_files import load_yaml
from enrich.text import build_text, normalise
from enrich.training.hdf5 import name_picture, open_hdf5

# Sizes of one article, each with a text of its own, are fewer.
MOST_TEXTS_OF_A_PICTURE = 20


class Split(IntEnum):
    """What a product is for; a data set may have been published with it."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Products as their layout holds them; all lists have the same length.

    `image_paths` start from `root`. `groups` name near-identical products alike. `labels` maps an
    attribute to the products' labels, None where one has none. `split` is None where the data set
    was published without one.
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


def as_texts(column: pd.Series) -> list[str | None]:
    """Return a column's values as text, None where one is missing or empty."""
    return [None if value is pd.NA else value or None for value in column.astype("string")]


def name_groups(
    given: Sequence[str | None],
    own: Sequence[str],
    titles: Sequence[str | None],
    descriptions: Sequence[str | None],
    image_paths: Sequence[str | None],
) -> list[str]:
    """Return each row's group; a name that is given stays, whatever the rows share.

    A row without one is in the group of those with which it shares a text or a picture. That has
    the least of the names that are given to them, or else of their own, whatever the order of the
    rows.
    """
    named = [(name or "").strip() for name in given]
    if all(named):
        return named
    texts = [build_text(*both) for both in zip(titles, descriptions, strict=True)]
    alike = group_near_identical(texts, image_paths, MOST_TEXTS_OF_A_PICTURE).tolist()
    least: dict[int, tuple[bool, str]] = {}
    for group, name, without in zip(alike, named, own, strict=True):
        rank = (not name, name or without)
        least[group] = min(rank, least.get(group, rank))
    return [name or least[group][1] for group, name in zip(alike, named, strict=True)]


_REQUIRED = {
    "products.parquet": ("product_id", "title", "description", "image_path"),
    "labels.parquet": ("product_id",),
}
# Read as text where labels.parquet has it, whatever its type.
_GROUP = "group_id"


def read_catalog_folder(folder: Path) -> LabelledRows:
    """Read the labelled products of a catalog folder.

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
    """Tell whether a column may be a category or a label: no thumbnail, no embedding."""
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
    """Where a table lies and what it calls its columns; null is for a column that it lacks.

    Paths start from the folder of the description, image paths from `image_root`. `labels` maps
    attributes to columns. Rows of the same `group_id` are near-identical products, without one
    those that share a text or a picture. `split` holds train, validation and test.
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
    """Read the table that a description speaks of.

    Raises:
        ConfigError: description or table cannot be read, a column is missing, or a split has
            another name.
    """
    described = load_yaml(file, TableDescription)
    columns = _read_columns(file, described)
    titles, descriptions = columns[described.title], columns[described.description]
    image_paths = columns[described.image_path]
    own = [
        " ".join(filter(None, texts)) or path or f"row {row}"
        for row, (path, *texts) in enumerate(zip(image_paths, titles, descriptions, strict=True))
    ]
    return LabelledRows(
        root=file.parent / described.image_root,
        titles=titles,
        descriptions=descriptions,
        image_paths=image_paths,
        groups=name_groups(columns[described.group_id], own, titles, descriptions, image_paths),
        labels={attribute: columns[column] for attribute, column in described.labels.items()},
        split=_read_split(described, columns[described.split]) if described.split else None,
    )


def _read_columns(file: Path, described: TableDescription) -> dict[str | None, list[str | None]]:
    """Return the described columns by name; under None, one that holds nothing."""
    source = file.parent / described.table
    table = read_table(source)
    roles = described.title, described.description, described.image_path, described.group_id
    every = (*roles, described.split, *described.labels.values())
    named = {name for name in every if name is not None}
    if lacking := sorted(named.difference(table.column_names)):
        raise ConfigError(
            f"{source} has no column {', '.join(lacking)}; it has {', '.join(table.column_names)}. "
            f"Correct {file}, with null for what the table lacks"
        )
    columns = select_text(table, sorted(named), source).to_pydict()
    filled = {name: [value or None for value in column] for name, column in columns.items()}
    return {**filled, None: [None] * len(table)}


def _read_split(described: TableDescription, values: list[str | None]) -> list[Split]:
    split = [_SPLITS.get((value or "").strip().lower()) for value in values]
    known = [value for value in split if value is not None]
    if len(known) < len(split):
        raise ConfigError(
            f"{described.table} has a split {values[split.index(None)]!r} in column "
            f"{described.split}; wanted: {', '.join(_SPLITS)}"
        )
    return known


# The only attribute, and the published name of it.
ATTRIBUTE = "class"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


def read_food101(folder: Path) -> LabelledRows:
    """Read both published splits; a class is labelled by its name in words ("apple pie").

    Pictures of one title in one class are one group: pages were crawled more than once.

    Raises:
        ConfigError: a file is missing, or a line does not hold image, title and class.
    """
    splits = {"train": Split.TRAIN, "test": Split.TEST}
    rows = [(split, *row) for split in splits for row in _read_titles(folder, split)]
    return LabelledRows(
        root=folder,
        titles=[title for _, _, title, _ in rows],
        descriptions=[None] * len(rows),
        image_paths=[f"images/{split}/{name}/{image}" for split, image, _, name in rows],
        groups=[f"{name} {normalise(title).casefold() or image}" for _, image, title, name in rows],
        labels={ATTRIBUTE: [name.replace("_", " ") for _, _, _, name in rows]},
        split=[splits[split] for split, *_ in rows],
    )


def _read_titles(folder: Path, split: str) -> Iterator[tuple[str, str, str]]:
    """Yield image, title and class."""
    file = folder / "texts" / f"{split}_titles.csv"
    images = folder / "images" / split
    if not file.is_file() or not images.is_dir():
        raise ConfigError(
            f"no UPMC Food-101 in {folder}: wanted texts/{split}_titles.csv and the folder "
            f"images/{split}/"
        )
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            fields = line.strip().split(",")
            if len(fields) < 3:
                raise ConfigError(
                    f"{file}, row {number} has {len(fields)} field(s); wanted: image, title, class"
                )
            # Copies of the data set differ in whether a title with commas is quoted, and a title
            # that begins with a quotation mark ends in the same line all the same.
            image, *title, name = fields
            yield image.strip(), _unquote(",".join(title)), name.strip()


def _unquote(title: str) -> str:
    quoted = _QUOTED.fullmatch(title)
    return quoted[1].replace('""', '"') if quoted else title


# Attribute to data set.
_LABELS = {"category": "input_category", "sub_category": "input_subcategory"}
_COLUMNS = ("input_image", "input_name", "input_description", "input_productID", *_LABELS.values())
_FILES = {"train": Split.TRAIN, "validation": Split.TEST}


def read_fashion_gen(folder: Path) -> LabelledRows:
    """Read both files; the pictures stay where they are. Views of one product are one group.

    Raises:
        ConfigError: a file or a data set in it is missing or cannot be read, or h5py is not
            installed.
    """
    columns: dict[str, list[str]] = {name: [] for name in _COLUMNS}
    split: list[Split] = []
    for part, published in _FILES.items():
        file = _find(folder, part)
        opened = open_hdf5(file)
        if lacking := [name for name in _COLUMNS if name not in opened]:
            raise ConfigError(
                f"{file} has no data set {', '.join(lacking)}; it has {', '.join(opened)}"
            )
        rows = len(opened["input_image"])
        columns["input_image"] += [name_picture(file, "input_image", row) for row in range(rows)]
        for name in _COLUMNS[1:]:
            columns[name] += _as_texts(_read(file, opened, name, rows))
        split += [published] * rows
    return LabelledRows(
        root=folder,
        titles=list(columns["input_name"]),
        descriptions=list(columns["input_description"]),
        image_paths=list(columns["input_image"]),
        groups=columns["input_productID"],
        labels={attribute: [*columns[name]] for attribute, name in _LABELS.items()},
        split=split,
    )


def _find(folder: Path, part: str) -> Path:
    found = sorted(folder.glob(f"fashiongen_*_{part}.h5"))
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} file(s) fashiongen_*_{part}.h5 in {folder}; wanted: one, as published"
        )
    return found[0]


def _read(file: Path, opened: Any, name: str, rows: int) -> Any:
    try:
        return opened[name][:].reshape(rows)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"data set '{name}' of {file} cannot be read: {error}; wanted: one value for each of "
            f"the {rows:,} pictures"
        ) from error


def _as_texts(values: Iterable[Any]) -> list[str]:
    return [_decode(value) if isinstance(value, bytes) else str(value) for value in values]


def _decode(value: bytes) -> str:
    """Return the text; nothing in the files says which of two encodings it is in."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


LAYOUTS: dict[str, Callable[[Path], LabelledRows]] = {
    "catalog": read_catalog_folder,
    "food101": read_food101,
    "fashion_gen": read_fashion_gen,
    "table": read_described_table,
}


def read_labelled(catalog: Path) -> LabelledRows:
    """Read all labelled products of a catalog, given as a folder or as `LAYOUT:PATH`.

    Raises:
        ConfigError: the layout is unknown, or its reader finds something missing.
    """
    layout, path = locate(catalog)
    if layout not in LAYOUTS:
        raise ConfigError(
            f"no folder {catalog}, and no layout '{layout}'; wanted: a catalog folder, or "
            f"LAYOUT:PATH with one of {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[layout](path)


def locate(catalog: Path) -> tuple[str, Path]:
    """Return the layout that a catalog is said to have, and where it lies."""
    layout, colon, path = str(catalog).partition(":")
    return (layout, Path(path)) if colon and not catalog.exists() else ("catalog", catalog)
