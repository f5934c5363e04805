"""A store that is down is asked only now and then."""

import numpy as np
import pytest

from enrich.images import store
from enrich.images.store import CircuitBreaker, StoreDown


class Passing(Exception):
    """An error of a store that fails for a while."""


class Denied(Exception):
    """An answer, though not the wanted one."""


def breaker():
    """Return a breaker that asks once."""
    return CircuitBreaker(
        attempts=1, timeout_s=5, is_failure=lambda error: isinstance(error, Passing)
    )


class Store:
    """Fails so many times with an error, then answers."""

    def __init__(self, failures, error=Passing):
        self.asked = 0
        self.failures = failures
        self.error = error

    def __call__(self):
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "answer"


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(store, "time", clock)
    return clock


def test_pauses_of_a_store_that_is_down_double_up_to_half_a_minute(clock):
    asking, asked_at = breaker(), []

    def question():
        asked_at.append(clock.now)
        raise Passing

    while clock.now < 150:
        with pytest.raises((Passing, StoreDown)):
            asking.ask(question)
        clock.now += 1
    assert np.diff(asked_at).tolist() == [1] * 9 + [1, 2, 4, 8, 16, 30, 30, 30]


def test_an_outage_of_seconds_is_slept_through(clock):
    asking, lost = breaker(), 0

    for _ in range(1_000):
        store = Store(int(clock.now < 3))
        try:
            assert asking.ask(store) == "answer"
        except Passing:
            lost += 1
    assert lost == 10 + 2


@pytest.mark.parametrize("error", [None, Denied])
def test_answers_in_between_keep_a_store_from_counting_as_down(error):
    asking = breaker()
    for _ in range(2):
        for _ in range(9):
            with pytest.raises(Passing):
                asking.ask(Store(1))
        if error is None:
            assert asking.ask(Store(0)) == "answer"
        else:
            with pytest.raises(error):
                asking.ask(Store(1, error))
