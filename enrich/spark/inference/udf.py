"""The two functions that run on executors: what an answer rests on, and the answers themselves.

Both take paths, never image bytes: decoded pixels through Arrow are what makes such jobs slow.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import pandas as pd
from pyspark import Accumulator, AccumulatorParam
from pyspark.sql import Column
from pyspark.sql.functions import pandas_udf
from pyspark.sql.types import StringType
from schemas.tables import answer_columns

from enrich.config import ImageIdentity
from enrich.images.limits import ImageProblem
from enrich.images.store import ImageStore
from enrich.records import EnrichedProduct, Product, Status
from enrich.rows import to_row
from enrich.spark.inference.key import KEY
from enrich.spec import BuildsEngine, RunsProducts
from enrich.text import build_text

_OUTPUT_ROWS = 1_000
# This Python worker's engine on each device, and its recipe. Workers are reused between tasks and
# stages, so this outlives both.
_LOADED: dict[str, tuple[BuildsEngine, RunsProducts]] = {}

_GONE = (Status.IMAGE_MISSING, Status.IMAGE_FORBIDDEN)
_NOT_READ = (*_GONE, Status.IMAGE_TOO_LARGE)
_CHANGED = "the image was another one when the run began"

Columns = tuple[pd.Series, ...]
# What `mapInPandas` runs on the executors.
MapsFrames = Callable[[Iterable[pd.DataFrame]], Iterable[pd.DataFrame]]


class Loads(AccumulatorParam[dict[str, int]]):
    """Counts engine loads by Python worker, as an accumulator's rule."""

    def zero(self, value: dict[str, int]) -> dict[str, int]:
        return {}

    def addInPlace(self, left: dict[str, int], right: dict[str, int]) -> dict[str, int]:  # noqa: N802
        for worker, loads in right.items():
            left[worker] = left.get(worker, 0) + loads
        return left


def build_answers(
    spec: BuildsEngine, loads: Accumulator[dict[str, int]], identity: ImageIdentity
) -> MapsFrames:
    """Returns the function that `mapInPandas` sends to the executors: products in, answers out.

    Where the image has gone since its content_hash was taken, or has changed and is known by its
    content, the answer gets status `image_unreadable`, so that the next run asks again. Else it
    would stand for good under a hash that is not of its image.

    Runs on the driver; what it returns runs on the executors. Frames in have KEY and the input
    fields, frames out the columns of `answers_schema`, a row for a row, in order.
    """

    def answer(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        engine = _engine_of_this_worker(spec, loads)
        asked: deque[tuple[dict[str, str | None], Product]] = deque()

        def read() -> Iterator[Product]:
            for frame in frames:
                keys = zip(*(frame[name] for name in KEY), strict=True)
                for key, product in zip(keys, _products(frame), strict=True):
                    asked.append((dict(zip(KEY, map(_text, key), strict=True)), product))
                    yield product

        def rows() -> Iterator[dict[str, Any]]:
            for enriched in engine.enrich(read()):
                key, product = asked.popleft()
                if _rests_on_another_image(enriched, product, key["content_hash"], identity):
                    error = enriched.error or _CHANGED
                    enriched = replace(enriched, status=Status.IMAGE_UNREADABLE, error=error)
                yield key | to_row(enriched, spec.attributes)

        answers = rows()
        # The engine cuts its own batches across Arrow's.
        while some := list(islice(answers, _OUTPUT_ROWS)):
            yield pd.DataFrame(some)
        if asked:
            raise RuntimeError(f"the engine gave no answer to {len(asked)} of its products")

    return answer


def answers_schema(spec: BuildsEngine) -> str:
    """Returns the columns that `build_answers` yields."""
    key = ", ".join(f"{name} STRING" for name in KEY)
    return f"{key}, {answer_columns(spec.attributes)}"


def build_content_hash_udf(
    store: ImageStore, identity: ImageIdentity, read_threads: int
) -> Callable[..., Column]:
    """Returns the UDF (title, description, image_path) -> digest of what an answer rests on.

    Runs on the driver; what it returns runs on the executors.
    """

    def content_hash(batches: Iterator[Columns]) -> Iterator[pd.Series]:
        def hash_row(row: tuple[Any, Any, Any]) -> str:
            return hash_content(*row, store=store, identity=identity)

        # An object store answers after some tens of milliseconds: several are asked at once.
        with ThreadPoolExecutor(read_threads) as pool:
            for columns in batches:
                yield pd.Series(list(pool.map(hash_row, zip(*columns, strict=True))))

    content_hash_udf: Callable[..., Column] = pandas_udf(content_hash, StringType())  # type: ignore[call-overload]
    return content_hash_udf


def hash_content(
    title: str | None,
    description: str | None,
    image_path: str | None,
    store: ImageStore,
    identity: ImageIdentity,
) -> str:
    """Returns 32 hex digits of the normalised text and the image's identity.

    An image that cannot be read counts with its status: once it can be, the digest differs. Runs on
    the executor.
    """
    try:
        if identity is ImageIdentity.CONTENT:
            image = hashlib.sha256(store.read(_text(image_path))).hexdigest()
        else:
            image = f"{image_path}:{store.stat(_text(image_path))}"
    except ImageProblem as problem:
        image = str(problem.status)
    return _digest(image, title, description)


def _digest(image: str, title: str | None, description: str | None) -> str:
    text = build_text(_text(title), _text(description))
    digest = hashlib.sha256(image.encode(errors="replace"))
    digest.update(b"\0" + text.encode(errors="replace"))
    return digest.hexdigest()[:32]


def _rests_on_another_image(
    answer: EnrichedProduct, product: Product, content_hash: str | None, identity: ImageIdentity
) -> bool:
    """Tells whether the hash was taken of another image than the answer rests on.

    Or of an image that is gone by now. Runs on the executor.
    """

    def was(image: str) -> bool:
        return content_hash == _digest(image, product.title, product.description)

    if identity is ImageIdentity.CONTENT:
        # A hash that was taken when the store had failed differs in the next run anyway.
        is_told = answer.image_digest is not None or answer.status in _NOT_READ
        image = answer.image_digest or answer.status
        return is_told and not was(image) and not was(Status.IMAGE_UNREADABLE)
    return answer.status in _GONE and not was(answer.status)


def _engine_of_this_worker(spec: BuildsEngine, loads: Accumulator[dict[str, int]]) -> RunsProducts:
    """Runs on the executor."""
    # Loads torch, which the driver, where this module is imported too, does without.
    from enrich.spark.inference.device import build_engine, choose_device, take_cores

    device = choose_device()
    # Compared as a whole: it also says where image paths start, and the next run may be another
    # shop's. An engine of another recipe would only hold memory.
    for other in [name for name, (recipe, _) in _LOADED.items() if recipe != spec]:
        del _LOADED[other]
    if str(device) not in _LOADED:
        take_cores()
        _LOADED[str(device)] = spec, build_engine(spec, device)
        loads.add({f"{os.uname().nodename}:{os.getpid()}": 1})
    return _LOADED[str(device)][1]


def _products(frame: pd.DataFrame) -> Iterator[Product]:
    """Runs on the executor."""
    fields = (frame[name] for name in ("product_id", "title", "description", "image_path"))
    for product_id, title, description, image_path in zip(*fields, strict=True):
        yield Product(product_id, _text(title), _text(description), _text(image_path))


def _text(value: Any) -> str | None:
    # pandas has had NULL as None, NaN and NA.
    return value if isinstance(value, str) else None
