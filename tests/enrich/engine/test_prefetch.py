"""Work that runs ahead keeps its order and its bound."""

import threading
import time

import pytest
import torch

from enrich.engine.prefetch import one_intra_op_thread, open_pool, prefetch, prefetch_iterator


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
