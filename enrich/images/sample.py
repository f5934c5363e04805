"""Tries a sample of images before a run: a lost mount shows in seconds instead of after hours.

Whether a file is an image is the engine's business; here it only has to be readable.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from enrich.images.limits import ImageProblem
from enrich.images.store import ImageStore
from enrich.redaction import redact

IMAGES_TRIED = 100
READ_THREADS = 8
_SHOWN = 200  # characters of a path


class ImageSample(NamedTuple):
    """How many images were tried and could be read; `problem` is the first one that could not."""

    tried: int
    read: int
    problem: str | None


def read_image_sample(store: ImageStore, image_paths: Sequence[str]) -> ImageSample:
    """Tries to read each of the images, several at once."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        found = list(pool.map(lambda path: _find_problem(store, path), image_paths))
    problems = [problem for problem in found if problem is not None]
    return ImageSample(len(found), len(found) - len(problems), next(iter(problems), None))


def _find_problem(store: ImageStore, image_path: str) -> str | None:
    try:
        store.read(image_path)
    except ImageProblem as problem:
        return redact(f"{image_path[:_SHOWN]}: {problem.status}: {problem}")
    return None
