"""Retries with a circuit breaker: a store that is down is asked only now and then.

One `CircuitBreaker` a process and store. Time limits of a single request are the client's.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

Answer = TypeVar("Answer")

# Questions in a row that failed with all their attempts before the store counts as down. Then one
# question is a trial after each pause, and the pause doubles as long as trials fail. Short pauses
# are slept through, so that an outage of seconds costs few images. In long pauses all questions
# fail at once, so that a run against a dead store ends in minutes instead of days.
FAILURES_TO_OPEN = 10
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
LONGEST_SLEEP_S = 5.0

_LONGEST_BACKOFF_S = 5.0


class StoreDown(Exception):
    """The store failed too often in a row and was not asked."""


class CircuitBreaker:
    """Retries and circuit breaker of one store; safe to use from many threads."""

    def __init__(
        self, *, attempts: int, timeout_s: float, is_failure: Callable[[BaseException], bool]
    ) -> None:
        """Set the limits.

        Args:
            attempts: Requests for one question at most.
            timeout_s: Seconds after which no further attempt begins.
            is_failure: Whether an error is the store's own and may pass. Any other error is an
                answer: it is raised at once and does not count against the store.
        """
        self._is_failure = is_failure
        self._attempts, self._timeout_s = attempts, timeout_s
        # Only for later attempts: it takes as long as reading a small file.
        self._retrying = Retrying(
            retry=retry_if_exception(is_failure),
            wait=wait_random_exponential(multiplier=0.25, max=_LONGEST_BACKOFF_S),
            reraise=True,
        )
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._next_trial_at = 0.0

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Return the answer to `question`, after up to 7 s if the store is down.

        Raises:
            StoreDown: the store is down, and the next trial is too far away to sleep.
            Exception: the last error of the question.
        """
        while (left_s := self._seconds_to_sleep()) > 0:
            time.sleep(left_s)
        try:
            answer = self._ask_in_attempts(question)
        except Exception as error:
            self._count(failed=self._is_failure(error))
            raise
        self._count(failed=False)
        return answer

    def _ask_in_attempts(self, question: Callable[[], Answer]) -> Answer:
        begin = time.monotonic()
        try:
            return question()
        except Exception as error:
            if not self._is_failure(error):
                raise
            errors = [error]

        def attempt() -> Answer:
            if errors:
                raise errors.pop()
            return question()

        left_s = self._timeout_s - (time.monotonic() - begin)
        stop = stop_after_attempt(self._attempts) | stop_before_delay(left_s)
        return self._retrying.copy(stop=stop)(attempt)

    def _seconds_to_sleep(self) -> float:
        with self._lock:
            if self._failures < FAILURES_TO_OPEN:
                return 0.0
            left_s = self._next_trial_at - time.monotonic()
            if left_s <= 0:
                self._pause(min(2 * self._pause_s, LONGEST_PAUSE_S))
                return 0.0
            if self._pause_s > LONGEST_SLEEP_S:
                raise StoreDown(f"not asked: the store failed {self._failures} times in a row")
            return left_s

    def _count(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures == FAILURES_TO_OPEN:
                self._pause(FIRST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        self._pause_s, self._next_trial_at = seconds, time.monotonic() + seconds
