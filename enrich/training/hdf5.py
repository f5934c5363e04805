"""Pictures in HDF5 files, read one at a time.

The path of such a picture is `FILE.h5#DATASET/ROW`, with FILE in the root folder. It is read under
the roots and limits of all other pictures.
"""

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from enrich.errors import ConfigError
from enrich.extras import load_extra
from enrich.images.decoding import one_if_large, refuse_long_sides, refuse_many_pixels
from enrich.images.limits import ImageLimits, ImageProblem
from enrich.images.store import ImageStore
from enrich.preprocess import ImageShape, to_pixels
from enrich.records import Status
from enrich.redaction import describe_error

_NAME = re.compile(r"(?P<file>[^/\\]+\.h5)#(?P<dataset>\w+)/(?P<row>\d+)")


def name_picture(file: Path, dataset: str, row: int) -> str:
    """Return the path of a picture inside an HDF5 file."""
    return f"{file.name}#{dataset}/{row}"


def name_file(image_path: str) -> str:
    """Return the path of the file of a picture, which may be an HDF5 file."""
    named = _NAME.fullmatch(image_path)
    return image_path if named is None else named["file"]


def read_hdf5_pixels(
    store: ImageStore, image_path: str | None, shape: ImageShape
) -> np.ndarray | None:
    """Read a picture like `decode_pixels`; None if the path is of another kind.

    Raises:
        ImageProblem: as `ImageStore.read` and `decode_pixels`, except for the size of the file; or
            the bytes of the picture lie in another file.
        ConfigError: h5py is not installed.
    """
    named = _NAME.fullmatch(image_path or "")
    if named is None:
        return None
    load_extra("h5py", "train")  # here, because below its absence would look like a bad picture
    store.stat(named["file"])
    file = store.find_local(named["file"])
    if file is None:
        raise ImageProblem(Status.IMAGE_FORBIDDEN, "an HDF5 file is read from a disk alone")
    try:
        pictures = _find_pictures(open_hdf5(Path(file)), named["dataset"])
        return _read_row(pictures, int(named["row"]), store.limits, shape)
    except ImageProblem:
        raise
    except MemoryError as error:
        # Another run may have enough memory.
        raise ImageProblem(Status.IMAGE_UNREADABLE, describe_error(error)) from error
    except Exception as error:
        # Damaged files make h5py raise whatever HDF5 happens to meet.
        raise ImageProblem(Status.IMAGE_CORRUPT, describe_error(error)) from error


def _find_pictures(opened: Any, name: str) -> Any:
    """Return the data set of that name, which must lie in this file as a whole."""
    h5py = load_extra("h5py", "train")
    links, link = opened.id.links, name.encode()
    outside = ImageProblem(
        Status.IMAGE_FORBIDDEN, f"the pictures of '{name}' lie outside the HDF5 file"
    )
    if not links.exists(link):
        raise ImageProblem(Status.IMAGE_CORRUPT, f"no data set '{name}' in the HDF5 file")
    if links.get_info(link).type != h5py.h5l.TYPE_HARD:
        raise outside  # without following the link out of the allowed roots
    pictures = opened[name]
    is_set = isinstance(pictures, h5py.Dataset)
    if not is_set or pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
        wanted = "bytes of shape (pictures, height, width, 3)"
        raise ImageProblem(
            Status.IMAGE_CORRUPT, f"no pictures in '{name}' of the HDF5 file; wanted: {wanted}"
        )
    if pictures.external or pictures.is_virtual:
        raise outside
    return pictures


def _read_row(pictures: Any, row: int, limits: ImageLimits, shape: ImageShape) -> np.ndarray:
    rows, height, width, channels = pictures.shape
    refuse_many_pixels(width, height, limits.max_pixels)
    refuse_long_sides(width, height)
    # A chunk is unpacked whole, however little of it is wanted.
    if (chunk := math.prod(pictures.chunks or ())) > channels * limits.max_pixels:
        raise ImageProblem(Status.IMAGE_TOO_LARGE, f"an HDF5 file with chunks of {chunk:,} bytes")
    if row >= rows:
        raise ImageProblem(Status.IMAGE_CORRUPT, f"row {row} of {rows:,} in the HDF5 file")
    with one_if_large(width * height):
        return to_pixels(Image.fromarray(pictures[row]), shape)


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
        raise ConfigError(f"no HDF5 file can be read at {file}: {error}") from error
