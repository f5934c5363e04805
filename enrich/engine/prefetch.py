"""Prefetch and batching: products decoded ahead, and batched by the length of their texts.

While one batch computes, threads read the next ones, in order and in bounded number. Each picture
is decoded once. Knows nothing of how a product is read, or of what a batch is computed on.
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
    """Yields the results in the order of the items; at most `ahead` are started and not yielded.

    `start` returns what waits for the work, as a Future's `result` does.
    """
    started: deque[Callable[[], Result]] = deque()
    for item in items:
        started.append(start(item))
        if len(started) >= ahead:
            yield started.popleft()()
    while started:
        yield started.popleft()()


def prefetch_iterator(items: Iterator[Item]) -> Iterator[Item]:
    """Yields the items while a thread makes the next one, so that a GPU need not wait for it."""
    end = object()
    with open_pool(1) as pool:
        made = prefetch(
            itertools.repeat(items), lambda some: pool.submit(next, some, end).result, 2
        )
        yield from itertools.takewhile(lambda item: item is not end, made)


@contextmanager
def open_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Gives a pool of threads; what nobody waits for at the end is not begun."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_intra_op_thread() -> Iterator[None]:
    """Makes torch compute in the thread that calls it, in all threads, until the context ends.

    Threads that share out a layer wait for each other at its end, and where other threads keep the
    cores busy they wait for long: eight times slower has been seen.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A product read and decoded; `pixels` is uint8 (3, S, S) or None, `text` may be empty.

    `image_digest` is that of the file, where it was read. `wording` is title and
    description, in which label words are looked for.
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
        """What is the matter with the image; None if it was decoded."""
        return None if self.pixels is not None else ImageProblem(self.status, self.error or "")

    @property
    def modalities(self) -> Modalities | None:
        """What an answer can rest on; None if nothing could be read."""
        has_image, has_text = self.pixels is not None, bool(self.text)
        return Modalities.of(has_image, has_text) if has_image or has_text else None


def submit_by_length(
    products: list[Prepared],
    batch_size: int,
    lanes: int,
    submit: Callable[[list[Prepared]], Future[Tensor]],
) -> Callable[[], tuple[list[Prepared], Tensor | None]]:
    """Cuts batches of about equal text length, in which equal products are one, and submits them.

    Returns what waits for the rows of all batches; they are in the order of the readable products.

    Their number is a multiple of `lanes`, so that no lane works while the others have nothing left.
    Two products are equal where their pixels are one and the same array and their texts are equal.
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
    """Returns slices of about equal size that cover `total` rows, none of more than `most`.

    Their number is a multiple of `multiple`, as far as there are rows for it.
    """
    count = min(total, multiple * math.ceil(total / (most * multiple)))
    edges = [total * place // max(1, count) for place in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


_MOST_PICTURES = 512
_MOST_BYTES = 64_000_000
_COMPARED_FIRST = 64

Key = tuple[int, bytes]


class _Picture:
    """A file's bytes, and what was made of them once its lock was free for the first time."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pixels: np.ndarray | None = None
        self.lock = threading.Lock()


class PixelCache:
    """The pixels of the last files; safe to use from many threads.

    Of at most 512 files and 64 MB of their bytes, which are kept as well; the pixels come on top.

    A file is known by its whole content, and looked up by its length and a few bytes from its
    middle: a digest of every file would cost more than most catalogs' repetitions save.
    """

    def __init__(self) -> None:
        self._pictures: OrderedDict[Key, _Picture] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, data: bytes, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns the array that these bytes are known by, which nobody may change.

        `make` makes it where they are new. What it raises is not remembered: who asks next tries
        again.
        """
        picture = self._look_up(data)
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
        """Forgets all pictures when the context begins, and when it ends."""
        self._forget()
        try:
            yield
        finally:
            self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._pictures.clear()
            self._bytes = 0

    def _look_up(self, data: bytes) -> _Picture:
        key = _key(data)
        with self._lock:
            found = self._pictures.pop(key, None)
            if found is None:
                self._bytes += len(data)
            # Another file of this key has as many bytes.
            picture = found if found is not None and found.data == data else _Picture(data)
            self._pictures[key] = picture
            while self._bytes > _MOST_BYTES or len(self._pictures) > _MOST_PICTURES:
                _, oldest = self._pictures.popitem(last=False)
                self._bytes -= len(oldest.data)
        return picture


def _key(data: bytes) -> Key:
    middle = len(data) // 2
    return len(data), data[middle : middle + _COMPARED_FIRST]
