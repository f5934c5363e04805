"""Tries a sample of images before a run: a lost mount shows in seconds instead of after hours.

Whether a file is an image is the engine's business; here it only has to be readable.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from schemas.images import ImageSample

from enrich.images.limits import ImageProblem
from enrich.images.store import ImageStore
from enrich.redaction import redact

IMAGES_TRIED = 100
READ_THREADS = 8
_SHOWN = 200  # characters of a path


def read_image_sample(store: ImageStore, image_paths: Sequence[str]) -> ImageSample:
    """Tries to read each of the images, several at once."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        results = list(pool.map(lambda path: _try(store, path), image_paths))
    problems = [result for result in results if isinstance(result, str)]
    digests = {
        path: result
        for path, result in zip(image_paths, results, strict=True)
        if isinstance(result, bytes)
    }
    return ImageSample(
        len(results),
        len(results) - len(problems),
        next(iter(problems), None),
        len(digests),
        max(Counter(digests.values()).values(), default=0),
    )


def _try(store: ImageStore, image_path: str) -> bytes | str:
    """Returns the file's digest, or what is wrong with it."""
    try:
        return hashlib.sha256(store.read(image_path)).digest()
    except ImageProblem as problem:
        # Hidden before it is cut: a login is known by the @ behind it.
        return f"{redact(image_path)[:_SHOWN]}: {problem.status}: {problem}"
