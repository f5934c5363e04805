"""Decoded pixels on disk, so that an epoch does not wait for JPEGs.

The pixels are a memory-mapped array in the order of the labelled products. A cache belongs to one
list of image files at one size. Trainings that share a cache fill it in turn.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from enrich.engine.prefetch import open_pool, prefetch
from enrich.engine.unreadable import describe_failures
from enrich.errors import StorageFailed
from enrich.images.decoding import decode_pixels
from enrich.images.settings import ImageProblem, ImageShape
from enrich.images.store import ImageStore
from enrich.places import atomic_write
from enrich.records import Status
from enrich.terminal import rank, say, watch
from enrich.training.labelled import LabelledProducts

# At least so many threads: most of them wait if images come from an object store.
_THREADS = 4
# Decoded pictures that wait for a slower disk.
_AHEAD = 256
_PIXELS, _STORE_FAILED = "pixels.npy", "store_failed"
# Written last: its presence says that the pixels are complete.
_HAS_IMAGE = "has_image.npy"


@dataclass(frozen=True, slots=True)
class CachedImages:
    """Decoded pictures of all products.

    Attributes:
        pixels: uint8 (N, 3, S, S).
        has_image: (N,), False for pictures that could not be read.
        folder: folder of the cache, named after the files and the size.
    """

    pixels: np.ndarray
    has_image: np.ndarray
    folder: Path


def cache_pixels(products: LabelledProducts, shape: ImageShape, root: Path) -> CachedImages:
    """Decode every image once, or open the pixels that an earlier run decoded.

    If a store failed to give an image, the next run decodes all images anew.

    Raises:
        ConfigError: images are named, and 0 of them can be read.
    """
    files = list(zip(products.image_roots, products.image_paths, strict=True))
    stores = {image_root: ImageStore(image_root) for image_root in set(products.image_roots)}
    stamps = [_stamp(stores[image_root], path) for image_root, path in files]
    folder = root / f"images-{_digest((shape, files, stamps))[:12]}"
    with nullcontext() if _is_decoded(folder) else alone(folder):
        if not _is_decoded(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _decode_into(folder, products, shape)
        pixels, has_image = np.load(folder / _PIXELS, mmap_mode="r"), np.load(folder / _HAS_IMAGE)
    return CachedImages(pixels, has_image, folder)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, which one process at a time fills."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another training, which fills {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _stamp(store: ImageStore, path: str | None) -> tuple[int, int] | None:
    """Return size and time of a local file; None for other or missing files."""
    file = store.find_local(path)
    if file is None:
        return None
    try:
        found = Path(file).stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def _digest(listed: object) -> str:
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def _is_decoded(folder: Path) -> bool:
    # After a failure of a store the next run decodes anew, but not the other processes of this run.
    is_final = rank() > 0 or not (folder / _STORE_FAILED).exists()
    return is_final and (folder / _HAS_IMAGE).exists()


def _decode_into(folder: Path, products: LabelledProducts, shape: ImageShape) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    size = (len(products), 3, shape.size_px, shape.size_px)
    pixels = make_array(folder / _PIXELS, np.uint8, size)
    problems = decode_all(products, shape, pixels)
    if warning := describe_failures(problems):
        say(warning)
    pixels.flush()
    if any(one and one.status is Status.IMAGE_UNREADABLE for one in problems):
        (folder / _STORE_FAILED).touch()
    with atomic_write(folder / _HAS_IMAGE) as partial, partial.open("wb") as out:
        np.save(out, np.array([one is None for one in problems], dtype=bool))


def make_array(file: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> np.memmap:
    """Create an array of zeros in a file, with room reserved on the disk.

    Raises:
        StorageFailed: the disk has too little room.
    """
    array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    try:
        with file.open("r+b") as made:
            # Writing to a memory map on a full disk would kill the process.
            os.posix_fallocate(made.fileno(), 0, file.stat().st_size)
    except OSError as error:
        file.unlink()  # which takes all free room
        raise StorageFailed(
            f"{file.parent} has too little room ({error.strerror}): expected "
            f"{array.nbytes / 1e9:.1f} GB for the pictures. Make room, or set 'cache' to another "
            "folder."
        ) from error
    return array


def decode_all(
    products: LabelledProducts, shape: ImageShape, pixels: np.ndarray
) -> list[ImageProblem | None]:
    """Fill `pixels`, and return the problem of each image."""
    problems: list[ImageProblem | None] = []
    with open_pool(max(_THREADS, torch.get_num_threads())) as pool:
        decoded = prefetch(
            range(len(products)),
            lambda row: pool.submit(decode_one, products, row, shape).result,
            _AHEAD,
        )
        for row, result in enumerate(watch(decoded, "decoding images", len(products))):
            if isinstance(result, ImageProblem):
                problems.append(result)
            else:
                pixels[row] = result
                problems.append(None)
    return problems


def decode_one(
    products: LabelledProducts, row: int, shape: ImageShape
) -> np.ndarray | ImageProblem:
    """Decode the image of a row, or return its problem."""
    root, path = products.image_roots[row], products.image_paths[row]
    store = ImageStore(root)
    try:
        return decode_pixels(store.read(path), limits=store.limits, shape=shape)
    except ImageProblem as problem:
        return problem
