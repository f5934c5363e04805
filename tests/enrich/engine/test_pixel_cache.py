"""The pixel cache: what it finds and keeps."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from enrich.engine.prefetch import PixelCache

THREADS = 8


class Maker:
    """Makes pictures of a number each, and counts them."""

    def __init__(self):
        self.made = 0

    def __call__(self):
        self.made += 1
        return np.full((3, 2, 2), self.made, dtype=np.uint8)


@pytest.fixture
def make():
    return Maker()


def test_a_file_is_decoded_once(make):
    pictures = PixelCache()
    first = pictures.get("a digest", make)
    assert pictures.get("a digest", make) is first
    assert make.made == 1


def _get_at_once(get):
    """Returns what each of several threads gets that come before the first is served."""
    with ThreadPoolExecutor(THREADS) as pool:
        asked = [pool.submit(get) for _ in range(THREADS)]
        return [one.exception() or one.result() for one in asked]


def test_threads_that_want_the_same_picture_at_once_wait_for_the_first(make):
    pictures = PixelCache()

    def make_slowly():
        time.sleep(0.2)
        return make()

    found = _get_at_once(lambda: pictures.get("a digest", make_slowly))
    assert make.made == 1
    assert {id(pixels) for pixels in found} == {id(found[0])}


def test_a_picture_that_is_being_made_holds_up_no_other(make):
    pictures = PixelCache()

    def make_with_another():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(pictures.get, "another", make).result(timeout=30)
        return make()

    assert pictures.get("a digest", make_with_another)[0, 0, 0] == 2


def test_a_failure_is_told_to_each_and_not_remembered(make):
    pictures = PixelCache()

    def fail():
        raise MemoryError

    found = _get_at_once(lambda: pictures.get("a digest", fail))
    assert [type(error) for error in found] == [MemoryError] * THREADS
    assert pictures.get("a digest", make)[0, 0, 0] == 1


def test_no_more_is_kept_than_allowed(make, monkeypatch):
    monkeypatch.setattr("enrich.engine.prefetch._MOST_PICTURES", 3)
    pictures = PixelCache()

    def is_kept(digest):
        before = make.made
        pictures.get(digest, make)
        return make.made == before

    assert [is_kept(digest) for digest in "abc"] == [False] * 3
    assert is_kept("a")
    assert not is_kept("d")
    assert [is_kept(digest) for digest in "acd"] == [True] * 3
    assert not is_kept("b"), "it was asked for longest ago"


def test_at_the_beginning_and_at_the_end_all_is_forgotten(make):
    pictures = PixelCache()
    pictures.get("a digest", make)
    with pictures.cleared():
        pictures.get("a digest", make)
        pictures.get("a digest", make)
    pictures.get("a digest", make)
    assert make.made == 3


def test_what_is_kept_cannot_be_changed(make):
    pixels = PixelCache().get("a digest", make)
    with pytest.raises(ValueError, match="read-only"):
        pixels[:] = 0
