"""Drives several actors through one chosen order of their Delta commits, without sleeps.

Every commit goes through `Tables.tag_commits`. There an actor waits until the schedule names it,
and hands on when its commit is done; like the phase locks of Delta's own transaction tests.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from enrich.spark import encode
from enrich.spark.tables import Tables

_PATIENCE_S = 300
_ACTOR = threading.local()


class Schedule:
    """An order of commits, as (actor, table) pairs; a commit that it does not name runs freely."""

    def __init__(self, order: Sequence[tuple[str, str]]) -> None:
        self._left = list(order)
        self._turn = threading.Condition()
        self._ended: set[str] = set()

    def run(self, actors: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """Run all actors to their ends; return what each returned or raised."""
        ended: dict[str, Any] = {}

        def act(name: str, work: Callable[[], Any]) -> None:
            _ACTOR.name, _ACTOR.schedule = name, self
            try:
                ended[name] = work()
            except Exception as error:
                ended[name] = error
            finally:
                with self._turn:
                    self._ended.add(name)
                    self._turn.notify_all()

        threads = [threading.Thread(target=act, args=actor) for actor in actors.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ended

    @contextmanager
    def turn_of(self, step: tuple[str, str]) -> Iterator[None]:
        """Wait for the step's turn, if it has one, and hand on afterwards."""
        with self._turn:
            if step not in self._left:
                is_scheduled = False
            else:
                is_scheduled = True
                assert self._turn.wait_for(lambda: self._head() == step, _PATIENCE_S), step
        try:
            yield
        finally:
            if is_scheduled:
                with self._turn:
                    self._left.remove(step)
                    self._turn.notify_all()

    def _head(self) -> tuple[str, str] | None:
        """Return the next step of an actor that is still at work."""
        return next((step for step in self._left if step[0] not in self._ended), None)


def install(monkeypatch: Any) -> None:
    """Let every commit of a scheduled actor wait for its turn."""
    append, merge, in_spark_thread = Tables.append, Tables.merge, encode.in_spark_thread

    def scheduled(table: str) -> Any:
        schedule = getattr(_ACTOR, "schedule", None)
        return schedule.turn_of((_ACTOR.name, table)) if schedule else _nothing()

    def append_in_turn(self: Tables, table: str, *rest: Any) -> None:
        with scheduled(table):
            append(self, table, *rest)

    def merge_in_turn(self: Tables, table: str, *rest: Any) -> Any:
        with scheduled(table):
            return merge(self, table, *rest)

    def act_in_thread(spark: Any, function: Callable[[], None]) -> Callable[[], None]:
        actor, wrapped = dict(_ACTOR.__dict__), in_spark_thread(spark, function)

        def act() -> None:
            _ACTOR.__dict__.update(actor)
            wrapped()

        return act

    monkeypatch.setattr(encode, "in_spark_thread", act_in_thread)
    monkeypatch.setattr(Tables, "append", append_in_turn)
    monkeypatch.setattr(Tables, "merge", merge_in_turn)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
