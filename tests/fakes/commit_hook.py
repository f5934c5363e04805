"""Does something at a commit of a run: lets another command in between, or ends the run there."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import pytest

from enrich.spark.tables.output_tables import OutputTables

_COMMITS = ("append_chunk", "replace_run", "publish", "delete_published")
When = Literal["before", "after"]


class Killed(BaseException):
    """The process is gone: nothing that looks after errors catches this."""


class CommitHook:
    """Hooks into the commits of `OutputTables`; `done` names those that were made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self._do: Callable[[], None] | None = None
        self._when: When = "before"
        self._left = 0
        self._is_dead = False
        for name in _COMMITS:
            patch.setattr(OutputTables, name, self._hooked(getattr(OutputTables, name)))

    def begin(self) -> None:
        """Forgets all that was said and done."""
        self.done, self._do, self._is_dead = [], None, False

    def at(self, nth: int, when: When, do: Callable[[], None]) -> None:
        """Has `do` called at the commit that is the nth one from now, if there is one."""
        self._left, self._when, self._do = nth, when, do

    def kill(self) -> None:
        """Ends the run: it commits nothing any more, whatever it does on its way out."""
        self._is_dead = True
        raise Killed

    def _hooked(self, commit: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(commit)
        def hooked(*arguments: Any, **named: Any) -> Any:
            self._meet("before")
            answer = commit(*arguments, **named)
            self.done.append(commit.__name__)
            self._meet("after")
            return answer

        return hooked

    def _meet(self, when: When) -> None:
        if self._is_dead:
            raise Killed
        if self._do is None or when != self._when:
            return
        self._left -= 1
        if not self._left:
            do, self._do = self._do, None
            do()
