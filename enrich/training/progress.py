"""What a person sees of an epoch: a bar on a terminal, lines at intervals in a log."""

import time

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from enrich.progress import CONSOLE, say
from enrich.ranks import rank

_LINE_EVERY_S = 30.0


class EpochProgress(Progress):
    """Shows an epoch's steps, mean loss and products a second."""

    def __init__(self, title: str, steps: int, done: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=CONSOLE,
            disable=not CONSOLE.is_terminal or rank() > 0,
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
        if not CONSOLE.is_terminal and now >= self._line_due:
            self._line_due = now + _LINE_EVERY_S
            say(f"{text}, step {self._done:,} of {self._steps:,}")
