"""Remembers the last pictures by their files' bytes: variants of a product often share one.

Knows nothing of what is remembered.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

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


class RecentPictures:
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
    def of_this_alone(self) -> Iterator[None]:
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
