"""Any table with label columns, Parquet, CSV or JSON, as a YAML file describes it.

    table: products.csv
    image_root: photos
    title: name
    description: null
    image_path: picture
    labels: {color: base_colour, style: usage}

Knows nothing of what the labels mean.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from enrich.errors import ConfigError
from enrich.files.tables import read_table, select_text
from enrich.settings_files import load_yaml
from enrich.training.readers.groups import name_groups
from enrich.training.readers.rows import LabelledRows, Split

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
    """Reads the table that a description speaks of.

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
    """Returns the described columns by name; under None, one that holds nothing."""
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
