"""What a person sees of a training run: a bar on a terminal, lines at intervals in a log."""

import time
from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)

from enrich.training.distributed import rank

Item = TypeVar("Item")

_LINE_EVERY_S = 30.0
_console = Console(stderr=True)


def say(text: str) -> None:
    """Prints a line on standard error; of several processes only the first one does."""
    if rank() == 0:
        # A label's name may hold what Rich takes for markup.
        _console.print(text, soft_wrap=True, markup=False)


def watch(items: Iterable[Item], title: str, total: int) -> Iterable[Item]:
    """Returns the items, and shows on standard error how many of them are done."""
    return track(items, title, total, console=_console, transient=True, disable=rank() > 0)


class EpochProgress(Progress):
    """Shows an epoch's steps, mean loss and products a second."""

    def __init__(self, title: str, steps: int, done: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=_console,
            disable=not _console.is_terminal or rank() > 0,
            transient=True,
        )
        self._title, self._steps, self._done = title, steps, done
        self._products, self._started = 0, time.monotonic()
        self._line_due = self._started + _LINE_EVERY_S
        self._task = self.add_task(title, total=steps, completed=done)

    def count_step(self, mean_loss: float, products: int) -> None:
        """Counts one step over so many products; `mean_loss` is of the epoch so far."""
        self._done += 1
        self._products += products
        now = time.monotonic()
        speed = self._products / max(now - self._started, 1e-9)
        text = f"{self._title}: loss {mean_loss:.4f}, {speed:,.0f} products/s"
        self.update(self._task, completed=self._done, description=text)
        if not _console.is_terminal and now >= self._line_due:
            self._line_due = now + _LINE_EVERY_S
            say(f"{text}, step {self._done:,} of {self._steps:,}")
