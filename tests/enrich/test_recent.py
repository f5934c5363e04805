"""What the memory of the last pictures finds, and how much it keeps."""

import numpy as np
import pytest

from enrich import recent
from enrich.recent import RecentPictures


def _pixels(value: int) -> np.ndarray:
    return np.full((3, 2, 2), value, dtype=np.uint8)


def test_the_same_bytes_are_known_by_the_same_array() -> None:
    pictures = RecentPictures()
    first = pictures.keep(b"a file", _pixels(1))
    assert pictures.find(bytes(bytearray(b"a file"))) is first
    assert pictures.keep(b"a file", _pixels(1)) is first, "a thread that decoded it a second time"


def test_files_that_differ_only_at_their_ends_are_told_apart() -> None:
    pictures = RecentPictures()
    start, middle, end = b"A" * 200, b"m" * 400, b"Z" * 200
    pictures.keep(start + middle + end, _pixels(1))
    assert pictures.find(start + middle + b"Y" * 200) is None
    other = pictures.keep(start + middle + b"Y" * 200, _pixels(2))
    assert other[0, 0, 0] == 2


def test_no_more_is_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_MOST_PICTURES", 3)
    monkeypatch.setattr(recent, "_MOST_BYTES", 100)
    pictures = RecentPictures()
    small = [bytes([number]) * 10 for number in range(4)]
    for data in small:
        pictures.keep(data, _pixels(0))
    assert [pictures.find(data) is not None for data in small] == [False, True, True, True]
    pictures.keep(b"l" * 80, _pixels(0))
    assert [pictures.find(data) is not None for data in small] == [False, False, True, True]
    pictures.keep(b"h" * 101, _pixels(0))
    assert pictures.find(b"h" * 101) is None
    assert pictures.keep(small[0], _pixels(0)) is pictures.find(small[0]), "it still counts right"


def test_what_is_kept_cannot_be_changed() -> None:
    pixels = RecentPictures().keep(b"a file", _pixels(1))
    with pytest.raises(ValueError, match="read-only"):
        pixels[:] = 0
