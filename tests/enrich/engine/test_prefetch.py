"""Work that runs ahead, batches of like length, and the cache of pixels."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from enrich.engine.prefetch import (
    PixelCache,
    even_slices,
    one_intra_op_thread,
    open_pool,
    prefetch,
    prefetch_iterator,
)


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first():
    def work(number):
        time.sleep(0.002 * (5 - number % 5))
        return number

    with open_pool(4) as pool:
        found = list(prefetch(range(20), lambda number: pool.submit(work, number).result, 6))
    assert found == list(range(20))


def test_no_more_is_started_than_allowed():
    taken = 0

    def items():
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with open_pool(2) as pool:
        results = prefetch(items(), lambda number: pool.submit(int, number).result, 5)
        assert next(results) == 1 and taken == 5
        assert next(results) == 2 and taken == 6
        results.close()


def test_an_error_reaches_whoever_waits_and_ends_the_rest():
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.01)
        if number == 0:
            raise RuntimeError("no answer")

    with pytest.raises(RuntimeError, match="no answer"), open_pool(1) as pool:
        list(prefetch(range(50), lambda number: pool.submit(work, number).result, 50))
    at_the_end = len(begun)
    time.sleep(0.05)
    assert len(begun) == at_the_end < 50


def test_one_item_is_made_while_the_one_before_is_used():
    begun = [threading.Event() for _ in range(4)]

    def items():
        for number in range(3):
            begun[number].set()
            yield number
        begun[3].set()

    found = []
    for number in prefetch_iterator(items()):
        assert begun[number + 1].wait(10)
        found.append(number)
    assert found == [0, 1, 2]


def test_an_error_in_what_is_made_ahead_reaches_whoever_uses_it():
    def items():
        yield 0
        raise RuntimeError("no more")

    made = prefetch_iterator(items())
    assert next(made) == 0
    with pytest.raises(RuntimeError, match="no more"):
        next(made)


@pytest.mark.usefixtures("own_threads")
def test_torch_computes_in_the_calling_thread_alone_while_others_work_too():
    torch.set_num_threads(3)
    found = []
    with one_intra_op_thread():
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        found.append(torch.get_num_threads())
    assert found == [1, 1] and torch.get_num_threads() == 3


@pytest.mark.parametrize(("total", "lanes"), [(0, 2), (1, 4), (9, 1), (13, 2), (64, 4)])
def test_no_batch_is_larger_than_allowed_and_lanes_share_them_evenly(total, lanes):
    slices = even_slices(total, 4, lanes)
    assert [row for one in slices for row in range(total)[one]] == [*range(total)]
    assert all(one.stop - one.start <= 4 for one in slices)
    assert len(slices) % lanes == 0 or len(slices) == total


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
