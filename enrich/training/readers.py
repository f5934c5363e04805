"""Readers of labelled catalogs, one function for each layout.

`read_labelled` takes what `--catalog` names: a catalog folder, or `LAYOUT:PATH`. A reader returns
`LabelledRows`; `enrich.training.labelled` numbers their labels and splits their groups.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from enrich.errors import ConfigError, load_extra, name_some
from enrich.files.tables import read_table, select_text
from enrich.settings_files import load_yaml
from enrich.terminal import say
from enrich.text import build_text, normalise
from enrich.training.near_identical import group_near_identical

# Sizes of one article, each with a text of its own, are fewer.
MOST_TEXTS_OF_A_PICTURE = 20
# The path of a picture in an HDF5 file of the root folder, FILE.h5#DATASET/ROW.
HDF5_PICTURE = re.compile(r"(?P<file>[^/\\]+\.h5)#(?P<dataset>\w+)/(?P<row>\d+)")


class Split(IntEnum):
    """The use of a product in training."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Labelled products of one catalog; all lists have the same length.

    Attributes:
        image_paths: paths from `root`.
        groups: names of groups of near-identical products.
        labels: labels by attribute, None for an unlabelled product.
        split: the published split, if there is one.
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
    given: Sequence[str | None],
    own: Sequence[str],
    titles: Sequence[str | None],
    descriptions: Sequence[str | None],
    image_paths: Sequence[str | None],
) -> list[str]:
    """Name the group of each row; given names stay.

    Rows without a given name that share a text or a picture are one group. Its name is the least of
    the names given to them, else of their own names, whatever the order of the rows.
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
_GROUP = "group_id"


def read_catalog_folder(folder: Path) -> LabelledRows:
    """Read the labelled products of a catalog folder, this project's own layout.

        products.parquet    product_id, title, description, image_path
        labels.parquet      product_id, one column an attribute (NULL is unlabelled), maybe
                            group_id; or product_id, attribute, label

    Either table may be a folder, as Spark writes it. Rows without a group_id that share a text or a
    picture are one group. Rows without a product_id are left out. Further columns of
    products.parquet, except bytes and lists, can be trained on as attributes; no classifier reads
    them.

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
    """Return one column an attribute, also of tables with a row a label."""
    if not {"attribute", "label"} <= {*labels.columns}:
        return labels
    key = ["product_id", "attribute"]
    if (is_again := labels.duplicated(key)).any():
        twice = labels["product_id"][is_again].iloc[0]
        raise ConfigError(
            f"{file} repeats a label: found an attribute of product {twice!r} twice, expected once"
        )
    return labels.pivot(index="product_id", columns="attribute", values="label").reset_index()


def _require_one_row_each(products: pd.DataFrame, file: Path) -> None:
    if (is_again := products["product_id"].duplicated()).any():
        twice = products["product_id"][is_again].iloc[0]
        raise ConfigError(
            f"{file} repeats a product: found more than one row of {twice!r}, expected one"
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
    """Read the table of a description.

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


# The only attribute, and the published name of it.
ATTRIBUTE = "class"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


def read_food101(folder: Path) -> LabelledRows:
    """Read UPMC Food-101 as published: 101 dishes, pictures with titles of web pages.

        images/{train,test}/<class>/<image>.jpg
        texts/{train,test}_titles.csv               image, title, class; no header

    Wang et al., "Recipe recognition with large multimodal food dataset", ICME workshops 2015.
    Pictures of one title in one class are one group, because pages were crawled more than once.

    Raises:
        ConfigError: a file is missing, or a line lacks image, title or class.
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
            f"{folder} is not UPMC Food-101: expected texts/{split}_titles.csv and the folder "
            f"images/{split}/"
        )
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            fields = line.strip().split(",")
            if len(fields) < 3:
                raise ConfigError(
                    f"{file}, row {number} is wrong: found {len(fields)} field(s), expected image, "
                    "title, class"
                )
            # Some copies of the data set quote titles with commas, others do not. A title that
            # begins with a quotation mark ends in the same line.
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
    """Read Fashion-Gen as published, two HDF5 files with pictures and texts.

        fashiongen_256_256_train.h5, fashiongen_256_256_validation.h5

    Rostamzadeh et al., "Fashion-Gen: The Generative Fashion Dataset and Challenge", arXiv
    1806.08317. Others report on the published validation file, so its products are the test split.
    Views of one product are one group. Pictures stay where they are.

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
                f"{file} lacks the data set {', '.join(lacking)}: found {', '.join(opened)}"
            )
        rows = len(opened["input_image"])
        columns["input_image"] += [f"{file.name}#input_image/{row}" for row in range(rows)]
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


@lru_cache(maxsize=8)
def open_hdf5(file: Path) -> Any:
    """Open a file with h5py, once: opening costs more than reading a row.

    Raises:
        ConfigError: the file cannot be opened, or h5py is not installed.
    """
    h5py = load_extra("h5py", "train")
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read as HDF5: {error}") from error


def _find(folder: Path, part: str) -> Path:
    found = sorted(folder.glob(f"fashiongen_*_{part}.h5"))
    if len(found) != 1:
        raise ConfigError(
            f"{folder} is not Fashion-Gen: found {len(found)} file(s) fashiongen_*_{part}.h5, "
            "expected 1"
        )
    return found[0]


def _read(file: Path, opened: Any, name: str, rows: int) -> Any:
    try:
        return opened[name][:].reshape(rows)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"data set '{name}' of {file} cannot be read: {error}, expected one value for each of "
            f"the {rows:,} pictures"
        ) from error


def _as_texts(values: Iterable[Any]) -> list[str]:
    return [_decode(value) if isinstance(value, bytes) else str(value) for value in values]


def _decode(value: bytes) -> str:
    """Decode text in UTF-8 or Latin-1; the files do not tell which."""
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
            f"catalog {catalog} is unknown: expected a folder, or LAYOUT:PATH with one of "
            f"{', '.join(LAYOUTS)}"
        )
    return LAYOUTS[layout](path)


def locate(catalog: Path) -> tuple[str, Path]:
    """Return the layout and the path of a catalog."""
    layout, colon, path = str(catalog).partition(":")
    return (layout, Path(path)) if colon and not catalog.exists() else ("catalog", catalog)
