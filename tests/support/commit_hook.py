"""Does something at a commit of a run: lets another command in between, or ends the run there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from kill_points import wrap_calls

COMMITS = ("append_chunk", "replace_run", "publish", "delete_published")


class Killed(BaseException):
    """The process is gone: nothing that looks after errors catches this."""


class CommitHook:
    """Hooks into what `OutputTables` does; `done` names the commits that were made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.begin()
        wrap_calls(self._notice, patch.setattr)

    def begin(self) -> None:
        """Forgets all that was said and done."""
        self.done: list[str] = []
        self._do: Callable[[], None] | None = None
        self._is_dead = False

    def at(
        self, when: str, do: Callable[[], None], nth: int = 1, of: tuple[str, ...] = COMMITS
    ) -> None:
        """Has `do` called `before` or `after` the nth of these calls, if there are so many."""
        self._when, self._do, self._left, self._of = when, do, nth, of

    def kill(self) -> None:
        """Ends the run: it commits nothing any more, whatever it does on its way out."""
        self._is_dead = True
        raise Killed

    @contextmanager
    def killed_after(self, commit: str) -> Iterator[None]:
        """Has what runs in the context die right behind its first commit of that name."""
        self.at("after", self.kill, of=(commit,))
        with pytest.raises(Killed):
            yield
        self.begin()

    def _notice(self, what: str, when: str) -> None:
        call = what.split()[0]
        is_commit = call in COMMITS
        if is_commit and self._is_dead:
            raise Killed
        if is_commit and when == "after":
            self.done.append(call)
        if self._do is None or when != self._when or call not in self._of:
            return
        self._left -= 1
        if not self._left:
            do, self._do = self._do, None
            do()
