"""A store is asked again within limits, and given up when it does not answer at all."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest

from enrich.images import patience
from enrich.images.patience import Patience, StoreFailed


class Passing(Exception):
    """What a store says that fails for a while."""


class Denied(Exception):
    """An answer, though not the wanted one."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.01)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What hanging questions of a test wait for."""
    event = threading.Event()
    yield event
    event.set()
    for thread in list(patience._hanging):
        thread.join(5)


def patient(attempts: int = 3, timeout_s: float = 5) -> Patience:
    return Patience(
        attempts=attempts, timeout_s=timeout_s, is_failure=lambda error: isinstance(error, Passing)
    )


class Store:
    """Fails so many times with an error, then answers."""

    def __init__(self, failures: int, error: type[Exception] = Passing) -> None:
        self.asked = 0
        self.failures = failures
        self.error = error

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "answer"


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


ways = pytest.mark.parametrize("way", [Patience.ask, Patience.ask_in_place])


@ways
def test_an_error_that_passes_is_asked_about_again(way: Callable) -> None:
    store = Store(2)
    assert way(patient(attempts=3), store) == "answer"
    assert store.asked == 3


@ways
def test_attempts_are_limited_and_the_last_error_is_raised(way: Callable) -> None:
    store = Store(100)
    with pytest.raises(Passing):
        way(patient(attempts=3), store)
    assert store.asked == 3


@ways
def test_an_answer_is_not_asked_for_again(way: Callable) -> None:
    store = Store(1, Denied)
    with pytest.raises(Denied):
        way(patient(), store)
    assert store.asked == 1


@ways
def test_pauses_count_towards_the_time(
    way: Callable, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.5)
    begin = time.monotonic()
    with pytest.raises((Passing, StoreFailed)):
        way(patient(attempts=10, timeout_s=0.5), Store(100))
    assert time.monotonic() - begin < 1


def test_a_question_that_hangs_is_left_behind(released: threading.Event) -> None:
    begin = time.monotonic()
    with pytest.raises(StoreFailed, match=r"within 0.2 s"):
        patient(timeout_s=0.2).ask(released.wait)
    assert time.monotonic() - begin < 1


def test_no_room_for_a_thread_is_this_machine_s_short_memory_and_no_failure_of_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, store = patient(), Store(0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("no new thread")))
        for _ in range(100):
            with pytest.raises(MemoryError, match="no new thread"):
                asked.ask(store)
    assert asked.ask(store) == "answer"


def test_several_stores_that_hang_at_a_time_are_counted_together(
    released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(set[threading.Thread]):
        def __iter__(self) -> Iterator[threading.Thread]:
            for thread in super().__iter__():
                time.sleep(0.02)
                yield thread

    def hang() -> None:
        with pytest.raises(StoreFailed, match="within"):
            patient(timeout_s=0.05).ask(released.wait)

    monkeypatch.setattr(patience, "_hanging", Slow())
    with ThreadPoolExecutor(4) as pool:
        for hung in [pool.submit(hang) for _ in range(12)]:
            hung.result()
    assert len(patience._hanging) == 12


def test_a_store_that_hangs_does_not_speak_for_another(released: threading.Event) -> None:
    hung, sound = patient(timeout_s=0.01), patient()
    for _ in range(patience.MOST_HANGING):
        # One question: the store is not taken to be down yet.
        hung._failures = 0
        with pytest.raises(StoreFailed, match="within"):
            hung.ask(released.wait)
    hung._failures = 0
    with pytest.raises(StoreFailed, match="16 earlier reads still hang"):
        hung.ask(Store(0))
    assert sound.ask(Store(0)) == "answer"


def test_no_question_is_put_while_a_store_is_down_but_one_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    asking, store = patient(attempts=1), Store(1_000)

    for _ in range(100):
        with pytest.raises((Passing, StoreFailed)):
            asking.ask_in_place(store)
    assert store.asked == 10 + 3
    assert clock.now == 1 + 2 + 4

    for trial in range(1, 20):
        clock.now += 30
        for _ in range(50):
            with pytest.raises((Passing, StoreFailed)):
                asking.ask_in_place(store)
        assert store.asked == 10 + 3 + trial

    store.failures = 0
    clock.now += 30
    assert [asking.ask_in_place(store) for _ in range(3)] == ["answer"] * 3


def test_a_store_that_is_silent_is_taken_to_be_down(
    released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "time", Clock())
    asking = patient(attempts=1, timeout_s=0.01)
    for _ in range(10 + 3):
        with pytest.raises(StoreFailed, match="within"):
            asking.ask(released.wait)
    with pytest.raises(StoreFailed, match="not asked: the store failed 13 times in a row"):
        asking.ask(Store(0))


def test_pauses_of_a_store_that_is_down_double_up_to_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    asking, asked_at = patient(attempts=1), []

    def question() -> None:
        asked_at.append(clock.now)
        raise Passing

    while clock.now < 150:
        with pytest.raises((Passing, StoreFailed)):
            asking.ask_in_place(question)
        clock.now += 1
    assert np.diff(asked_at).tolist() == [1] * 9 + [1, 2, 4, 8, 16, 30, 30, 30]


def test_an_outage_of_seconds_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    asking, lost = patient(attempts=1), 0

    for _ in range(1_000):
        store = Store(int(clock.now < 3))
        try:
            assert asking.ask_in_place(store) == "answer"
        except Passing:
            lost += 1
    assert lost == 10 + 2


def test_answers_in_between_keep_a_store_from_counting_as_down() -> None:
    asking = patient(attempts=1)
    for answer in (Store(0), Store(1, Denied)):
        for _ in range(9):
            with pytest.raises(Passing):
                asking.ask_in_place(Store(1))
        try:
            assert asking.ask_in_place(answer) == "answer"
        except Denied:
            assert answer.error is Denied
    assert asking.ask_in_place(Store(0)) == "answer"


def test_a_process_that_nothing_hangs_in_ends_as_ever() -> None:
    with pytest.raises(SystemExit) as end, patience.leaving_hanging_reads():
        sys.exit(3)
    assert end.value.code == 3


@pytest.mark.parametrize(("said", "code"), [("3", 3), ("None", 0), ("'a message'", 1)])
def test_a_process_with_a_hanging_read_ends_with_its_code_and_says_what_it_had_to_say(
    said: str, code: int
) -> None:
    program = f"""if True:
        import atexit, sys, threading
        from enrich.images import patience
        atexit.register(print, "at exit")
        with patience.leaving_hanging_reads():
            try:
                patience.Patience(
                    attempts=1, timeout_s=0.1, is_failure=lambda error: False
                ).ask(threading.Event().wait)
            except patience.StoreFailed:
                print("left behind")
            sys.exit({said})
    """
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (code, "left behind\nat exit\n"), ended.stderr
    assert ended.stderr == ("a message\n" if code == 1 else "")
