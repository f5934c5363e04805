"""Tries a sample of images before a run: a lost mount shows in seconds instead of after hours.

Whether a file is an image is the engine's business; here it only has to be readable.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from enrich.images.limits import ImageProblem
from enrich.images.store import ImageStore

READ_THREADS = 8


class ImageSample(NamedTuple):
    """How many images were tried, and how many of them could be read."""

    tried: int
    read: int


def read_image_sample(store: ImageStore, image_paths: Sequence[str]) -> ImageSample:
    """Tries to read each of the images, several at once."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = sum(pool.map(lambda path: _can_read(store, path), image_paths))
    return ImageSample(len(image_paths), read)


def _can_read(store: ImageStore, image_path: str) -> bool:
    try:
        store.read(image_path)
    except ImageProblem:
        return False
    return True
