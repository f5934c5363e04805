"""Work that runs ahead of whoever waits for it: in order, and bounded.

Knows nothing of what the work is.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_ahead(
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


def make_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yields the items while a thread makes the next one, so that a GPU need not wait for it."""
    end = object()
    with open_pool(1) as pool:
        made = run_ahead(
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
def each_thread_by_itself() -> Iterator[None]:
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
