"""Remembers the last pictures by their files' bytes: variants of a product often share one.

Knows nothing of what is remembered.
"""

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

_MOST_PICTURES = 512
_MOST_BYTES = 64_000_000
_COMPARED_FIRST = 64

Key = tuple[int, bytes]


class _Picture(NamedTuple):
    data: bytes
    pixels: np.ndarray


_NOTHING = _Picture(b"", np.empty(0))


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

    def find(self, data: bytes) -> np.ndarray | None:
        """Returns the very array that was kept for these bytes, None if there is none."""
        key = _key(data)
        with self._lock:
            found = self._pictures.get(key)
            if found is not None:
                self._pictures.move_to_end(key)
        return found.pixels if found is not None and found.data == data else None

    def keep(self, data: bytes, pixels: np.ndarray) -> np.ndarray:
        """Remembers pixels, which from now on nobody may change.

        Returns the array that these bytes are known by: another thread's, where that was faster.
        So equal pictures are one array in every run, whichever thread was the first.
        """
        pixels.setflags(write=False)
        key = _key(data)
        with self._lock:
            old = self._pictures.pop(key, _NOTHING)
            self._bytes += len(data) - len(old.data)
            kept = old if old.data == data else _Picture(data, pixels)
            self._pictures[key] = kept
            while self._bytes > _MOST_BYTES or len(self._pictures) > _MOST_PICTURES:
                _, oldest = self._pictures.popitem(last=False)
                self._bytes -= len(oldest.data)
        return kept.pixels


def _key(data: bytes) -> Key:
    middle = len(data) // 2
    return len(data), data[middle : middle + _COMPARED_FIRST]
