"""Fashion-Gen as published: two HDF5 files with pictures, texts and categories.

    fashiongen_256_256_train.h5, fashiongen_256_256_validation.h5

Rostamzadeh et al., "Fashion-Gen: The Generative Fashion Dataset and Challenge", arXiv 1806.08317.
The published validation file is what others report on; its products are the test split here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from enrich.errors import ConfigError
from enrich.training.readers.hdf5_images import name_picture, open_hdf5
from enrich.training.readers.rows import LabelledRows, Split

# Attribute to data set.
_LABELS = {"category": "input_category", "sub_category": "input_subcategory"}
_COLUMNS = ("input_image", "input_name", "input_description", "input_productID", *_LABELS.values())
_FILES = {"train": Split.TRAIN, "validation": Split.TEST}


def read_fashion_gen(folder: Path) -> LabelledRows:
    """Reads both files; the pictures stay where they are. Views of one product are one group.

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
    """Returns the text; nothing in the files says which of two encodings it is in."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
