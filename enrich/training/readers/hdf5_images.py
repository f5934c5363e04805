"""Pictures that lie as arrays inside an HDF5 file, read one at a time.

They are named `FILE.h5#DATASET/ROW`, FILE in the root folder, so that a row of them has a path like
any other.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from enrich.errors import ConfigError
from enrich.extras import load_extra

_NAME = re.compile(r"(?P<file>[^/\\]+\.h5)#(?P<dataset>\w+)/(?P<row>\d+)")


def name_picture(file: Path, dataset: str, row: int) -> str:
    """Returns the path of a picture inside an HDF5 file."""
    return f"{file.name}#{dataset}/{row}"


def name_file(image_path: str) -> str:
    """Returns the path of the file that holds a picture: its own, or the HDF5 file around it."""
    named = _NAME.fullmatch(image_path)
    return image_path if named is None else named["file"]


def read_hdf5_picture(root: str, image_path: str | None) -> Image.Image | None:
    """Returns the picture in RGB; None if the path is not one inside an HDF5 file."""
    named = _NAME.fullmatch(image_path or "")
    if named is None:
        return None
    opened = open_hdf5(Path(root) / named["file"])
    return Image.fromarray(opened[named["dataset"]][int(named["row"])]).convert("RGB")


@lru_cache(maxsize=8)
def open_hdf5(file: Path) -> Any:
    """Returns the open h5py file, the same one every time: opening costs more than reading a row.

    Raises:
        ConfigError: it cannot be opened, or h5py is not installed.
    """
    h5py = load_extra("h5py", "train")
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise ConfigError(f"no HDF5 file can be read at {file}: {error}") from error
