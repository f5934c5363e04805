"""Prefetch and batching: products decoded ahead, batches of like text length.

While one batch computes, threads read the next products, in order and in bounded number. Products
that share a picture share its pixels. The module knows neither how a product is read nor what a
batch is computed on.
"""

import itertools
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from enrich.images.settings import ImageProblem
from enrich.lexicon import ProductText
from enrich.records import Modalities, Status

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    items: Iterable[Item], start: Callable[[Item], Callable[[], Result]], ahead: int
) -> Iterator[Result]:
    """Yield the results in the order of the items, computed ahead.

    `start` starts one item, and returns a function that waits for it, as a Future's `result`. At
    most `ahead` results are started and not yet yielded.
    """
    started: deque[Callable[[], Result]] = deque()
    for item in items:
        started.append(start(item))
        if len(started) >= ahead:
            yield started.popleft()()
    while started:
        yield started.popleft()()


def prefetch_iterator(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items while a thread computes the next one."""
    end = object()
    with open_pool(1) as pool:
        made = prefetch(
            itertools.repeat(items), lambda some: pool.submit(next, some, end).result, 2
        )
        yield from itertools.takewhile(lambda item: item is not end, made)


@contextmanager
def open_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads; at the end, work that has not begun is cancelled."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_intra_op_thread() -> Iterator[None]:
    """Make torch compute each operation in its calling thread, in this context.

    Threads that share a layer wait for each other at its end. Where other threads keep the
    cores busy, that wait is long: eight times slower was measured.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A product that was read and decoded.

    `pixels` is uint8 (3, S, S) or None, and `text` may be empty. `image_digest` is the SHA-256
    of the file, where it was read. `wording` is title and description, in which label words are
    looked for.
    """

    product_id: str
    pixels: np.ndarray | None
    text: str
    status: Status
    error: str | None
    image_digest: str | None
    wording: ProductText

    @property
    def image_problem(self) -> ImageProblem | None:
        """The problem with the image; None if it was decoded."""
        return None if self.pixels is not None else ImageProblem(self.status, self.error or "")

    @property
    def modalities(self) -> Modalities | None:
        """Modalities that could be read; None if neither could be."""
        has_image, has_text = self.pixels is not None, bool(self.text)
        return Modalities.of(has_image, has_text) if has_image or has_text else None


def submit_by_length(
    products: list[Prepared],
    batch_size: int,
    lanes: int,
    submit: Callable[[list[Prepared]], Future[Tensor]],
) -> Callable[[], tuple[list[Prepared], Tensor | None]]:
    """Submit batches of like text length, in which equal products are one.

    Padding is computed too, so texts of about equal length share a batch. The number of batches is
    a multiple of `lanes`, so that all lanes finish together. Two products are equal if they have
    the same array of pixels and equal texts. Products without modalities are left out.

    Returns a function that waits for all batches, and returns the products and their rows. Rows are
    those of the readable products, in order; None without any.
    """
    unlike: dict[tuple[int, str], Prepared] = {}
    keys = []
    for product in products:
        if product.modalities is not None:
            keys.append((id(product.pixels), product.text))
            unlike.setdefault(keys[-1], product)
    # Characters instead of tokens: near enough, and known before a text is cut into tokens.
    by_length = sorted(unlike, key=lambda key: len(key[1]))
    row_of = {key: row for row, key in enumerate(by_length)}
    batches = [
        submit([unlike[key] for key in by_length[some]])
        for some in even_slices(len(by_length), batch_size, lanes)
    ]

    def collect() -> tuple[list[Prepared], Tensor | None]:
        if not batches:
            return products, None
        joined = torch.cat([batch.result() for batch in batches])
        return products, joined[torch.tensor([row_of[key] for key in keys])]

    return collect


def even_slices(total: int, most: int, multiple: int) -> list[slice]:
    """Return slices of about equal size over `total` rows, each at most `most`.

    Their number is a multiple of `multiple`, as far as there are rows for it.
    """
    count = min(total, multiple * math.ceil(total / (most * multiple)))
    edges = [total * place // max(1, count) for place in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


_MOST_PICTURES = 512


class _Picture:
    """The pixels of a file, once a thread has decoded them."""

    def __init__(self) -> None:
        self.pixels: np.ndarray | None = None
        self.lock = threading.Lock()


class PixelCache:
    """Cache of the pixels of the last 512 files; safe to use from many threads."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[str, _Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the read-only pixels of a file, decoded by `make` if they are new.

        `digest` is the SHA-256 of the file's bytes. An error is not cached: the next call tries
        again.
        """
        picture = self._look_up(digest)
        # Equal products stand side by side, so threads want one picture at once: to wait for the
        # first of them takes no longer than to make it too. Other pictures' threads go on.
        with picture.lock:
            if picture.pixels is None:
                pixels = make()
                pixels.setflags(write=False)
                picture.pixels = pixels
            return picture.pixels

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Clear the cache when the context begins, and when it ends."""
        self._pictures.clear()
        try:
            yield
        finally:
            self._pictures.clear()

    def _look_up(self, digest: str) -> _Picture:
        with self._lock:
            picture = self._pictures.pop(digest, None) or _Picture()
            self._pictures[digest] = picture
            if len(self._pictures) > _MOST_PICTURES:
                self._pictures.popitem(last=False)
        return picture
