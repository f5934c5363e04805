"""How long a store is waited for: with retries, with a total limit, and with an end to it all.

One `Patience` a process and store. Knows nothing of images or of what is asked.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

Answer = TypeVar("Answer")

# Questions in a row that failed with all their attempts before a store is taken to be down. While
# it is, one question is put to it after each pause, and pauses double as long as it fails. A short
# one is waited for, so that an outage of seconds costs few pictures; in a long one all others fail
# at once, so that a run against a silent store ends in minutes instead of days.
GIVE_UP_AFTER = 10
_FIRST_TRIAL_S = 1.0
ASK_AGAIN_S = 30.0
_WAITED_FOR_S = 5.0
# Threads that wait for answers of one store that nobody wants any more. Below the connections that
# a client of S3 keeps (25), or the hanging ones would use them up; buckets of a region share one.
MOST_HANGING = 16

_LONGEST_PAUSE_S = 5.0

# Of all stores.
_hanging: set[threading.Thread] = set()
_hanging_lock = threading.Lock()


class StoreFailed(Exception):
    """The store gave no answer, or was not even asked because it had given none for long."""


class Patience:
    """Asks one store; safe to use from many threads."""

    def __init__(
        self, *, attempts: int, timeout_s: float, is_failure: Callable[[BaseException], bool]
    ) -> None:
        """Sets the limits.

        Args:
            attempts: How often one question is put at most.
            timeout_s: Seconds for one question, with all its attempts and the pauses between them.
            is_failure: Whether an error is the store's own and may pass. Any other is an answer.
        """
        self._timeout_s = timeout_s
        self._is_failure = is_failure
        self._retrying = Retrying(
            retry=retry_if_exception(is_failure),
            wait=wait_random_exponential(multiplier=0.25, max=_LONGEST_PAUSE_S),
            stop=stop_after_attempt(attempts) | stop_before_delay(timeout_s),
            reraise=True,
        )
        self._hanging: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_s = _FIRST_TRIAL_S
        self._next_trial_at = 0.0

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Returns what `question` returns, within the time limit whatever it does.

        The limit begins when it is put; before that a store that is down may be waited for, seven
        seconds at most.

        It runs in a thread of its own, which is left behind when the time is up: a store that
        sends a byte a second never breaks a limit of the client's, and its client cannot be
        interrupted.

        Raises:
            StoreFailed: no answer in time, or the store is taken to be down.
            Exception: what the question raised last.
        """
        return self._counted(lambda: self._in_time(question))

    def ask_in_place(self, question: Callable[[], Answer]) -> Answer:
        """As `ask`, for a question that cannot hang: asked in the thread of the caller."""
        return self._counted(lambda: self._retrying.copy()(question))

    def _counted(self, ask: Callable[[], Answer]) -> Answer:
        while (left_s := self._pause_left()) > 0:
            time.sleep(left_s)
        try:
            answer = ask()
        except Exception as error:
            self._note(failed=isinstance(error, StoreFailed) or self._is_failure(error))
            raise
        self._note(failed=False)
        return answer

    def _in_time(self, question: Callable[[], Answer]) -> Answer:
        with _hanging_lock:
            for waiting in (_hanging, self._hanging):
                waiting.difference_update([one for one in waiting if not one.is_alive()])
            if len(self._hanging) >= MOST_HANGING:
                raise StoreFailed(f"{MOST_HANGING} earlier reads still hang")
        answer: Future[Answer] = Future()
        thread = threading.Thread(target=self._answer, args=(question, answer), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no memory, or no process number, is left for one more
            raise MemoryError(str(error)) from error
        if not wait([answer], self._timeout_s).done:
            with _hanging_lock:
                _hanging.add(thread)
                self._hanging.add(thread)
            raise StoreFailed(f"no whole answer within {self._timeout_s:g} s")
        return answer.result()

    def _answer(self, question: Callable[[], Answer], answer: "Future[Answer]") -> None:
        try:
            answer.set_result(self._retrying.copy()(question))
        except BaseException as error:
            answer.set_exception(error)

    def _pause_left(self) -> float:
        """Returns the seconds to wait with a question, 0 for one that is to be put now.

        Raises:
            StoreFailed: the store is down, and the pause too long to wait.
        """
        with self._lock:
            if self._failures < GIVE_UP_AFTER:
                return 0.0
            left_s = self._next_trial_at - time.monotonic()
            if left_s <= 0:
                self._pause(min(2 * self._pause_s, ASK_AGAIN_S))
                return 0.0
            if self._pause_s > _WAITED_FOR_S:
                raise StoreFailed(f"not asked: the store failed {self._failures} times in a row")
            return left_s

    def _note(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures == GIVE_UP_AFTER:
                self._pause(_FIRST_TRIAL_S)

    def _pause(self, seconds: float) -> None:
        self._pause_s, self._next_trial_at = seconds, time.monotonic() + seconds


@contextmanager
def leaving_hanging_reads() -> Iterator[None]:
    """Lets a process that wants to exit do so, with its code, although reads still hang.

    The client of S3 waits at exit until all its reads have ended, which a hanging one may never do;
    without that wait it crashes, and the exit code is lost.
    """
    try:
        yield
    except SystemExit as end:
        with _hanging_lock:
            is_hanging = any(thread.is_alive() for thread in _hanging)
        if is_hanging:
            _exit_now(end.code)
        raise


def _exit_now(code: object) -> None:
    from pyarrow import fs

    atexit.unregister(fs.ensure_s3_finalized)
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
