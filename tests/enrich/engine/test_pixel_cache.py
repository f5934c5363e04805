"""What the memory of the last pictures finds, how much it keeps, and that none is made twice."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from enrich.engine.prefetch import PixelCache

THREADS = 8


class Maker:
    """Makes pictures of a number each, and counts them."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> np.ndarray:
        self.made += 1
        return np.full((3, 2, 2), self.made, dtype=np.uint8)


@pytest.fixture
def make() -> Maker:
    return Maker()


def test_the_same_bytes_are_known_by_the_same_array(make: Maker) -> None:
    pictures = PixelCache()
    first = pictures.get(b"a file", make)
    assert pictures.get(bytes(bytearray(b"a file")), make) is first
    assert make.made == 1


def test_files_that_differ_only_at_their_ends_are_told_apart(make: Maker) -> None:
    pictures = PixelCache()
    start = b"A" * 200 + b"m" * 400
    values = [pictures.get(start + end * 200, make)[0, 0, 0] for end in (b"Z", b"Y", b"Y")]
    assert values == [1, 2, 2]


def test_an_empty_file_is_a_file_too(make: Maker) -> None:
    pictures = PixelCache()
    assert pictures.get(b"", make) is pictures.get(b"", make)


def _get_at_once(get: Callable[[], np.ndarray]) -> list[np.ndarray | BaseException]:
    """Returns what each of several threads gets that come before the first is served."""
    with ThreadPoolExecutor(THREADS) as pool:
        asked = [pool.submit(get) for _ in range(THREADS)]
        return [one.exception() or one.result() for one in asked]


def test_threads_that_want_the_same_picture_at_once_wait_for_the_first(make: Maker) -> None:
    pictures = PixelCache()

    def make_slowly() -> np.ndarray:
        time.sleep(0.2)
        return make()

    found = _get_at_once(lambda: pictures.get(b"a file", make_slowly))
    assert make.made == 1
    assert {id(pixels) for pixels in found} == {id(found[0])}


def test_a_picture_that_is_being_made_holds_up_no_other(make: Maker) -> None:
    pictures = PixelCache()

    def make_with_another() -> np.ndarray:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(pictures.get, b"another", make).result(timeout=30)
        return make()

    assert pictures.get(b"a file", make_with_another)[0, 0, 0] == 2


def test_a_failure_is_told_to_each_and_not_remembered(make: Maker) -> None:
    pictures = PixelCache()

    def fail() -> np.ndarray:
        raise MemoryError

    found = _get_at_once(lambda: pictures.get(b"a file", fail))
    assert [type(error) for error in found] == [MemoryError] * THREADS
    assert pictures.get(b"a file", make)[0, 0, 0] == 1


def test_no_more_is_kept_than_allowed(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enrich.engine.prefetch._MOST_PICTURES", 3)
    monkeypatch.setattr("enrich.engine.prefetch._MOST_BYTES", 100)
    pictures = PixelCache()

    def is_kept(data: bytes) -> bool:
        before = make.made
        pictures.get(data, make)
        return make.made == before

    small = [bytes([number]) * 10 for number in range(4)]
    for data in small:
        pictures.get(data, make)
    assert [is_kept(data) for data in small[1:]] == [True] * 3
    assert not is_kept(small[0]), "the oldest of four"
    assert not is_kept(b"l" * 80)
    assert [is_kept(data) for data in (small[0], small[3], b"l" * 80)] == [True] * 3
    assert not is_kept(b"h" * 101) and not is_kept(b"h" * 101), "more than all of the room"
    assert not is_kept(small[0]) and is_kept(small[0]), "it still counts right"


def test_at_the_beginning_and_at_the_end_all_is_forgotten(make: Maker) -> None:
    pictures = PixelCache()
    pictures.get(b"a file", make)
    with pictures.cleared():
        pictures.get(b"a file", make)
        pictures.get(b"a file", make)
    pictures.get(b"a file", make)
    assert make.made == 3


def test_what_is_kept_cannot_be_changed(make: Maker) -> None:
    pixels = PixelCache().get(b"a file", make)
    with pytest.raises(ValueError, match="read-only"):
        pixels[:] = 0
