"""Output for people: lines and progress on standard error, Markdown tables.

Of several processes that torchrun started only the first shows anything.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def rank() -> int:
    """Return this process's number; process 0 evaluates, saves and prints."""
    # Loads torch, which jobs without a model do without.
    import torch.distributed as dist

    return dist.get_rank() if dist.is_initialized() else 0


Item = TypeVar("Item")

CONSOLE = Console(stderr=True)
_LINE_EVERY_S = 30.0


def say(text: str) -> None:
    """Print a line."""
    if rank() == 0:
        # A label's name may hold what Rich takes for markup.
        CONSOLE.print(text, soft_wrap=True, markup=False)


class Steps(Progress):
    """Steps of a stage, as a bar on a terminal or as a line in a log now and then."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=CONSOLE,
            disable=not CONSOLE.is_terminal or rank() > 0,
            transient=True,
        )
        self._title, self._total, self._done = title, total, done
        self._line_due = time.monotonic() + _LINE_EVERY_S
        self._task = self.add_task(title, total=total, completed=done)

    def count(self, note: str = "") -> None:
        """Count one step; `note` is shown behind the title."""
        self._done += 1
        text = self._title + note
        self.update(self._task, completed=self._done, description=text)
        if not CONSOLE.is_terminal and time.monotonic() >= self._line_due:
            self._line_due = time.monotonic() + _LINE_EVERY_S
            say(f"{text}: {self._done:,} of {self._total:,}")


def watch(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Yield the items, and show their progress."""
    with Steps(title, total) as steps:
        for item in items:
            yield item
            steps.count()


def print_markdown(text: str) -> None:
    """Print Markdown on standard output, as wide in a log as on a screen."""
    Console(width=160).print(Markdown(text))


# What Markdown would read as its own. An underscore within a word is none of that.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; `blocks` are runs of rows that belong together."""

    title: str
    columns: Sequence[str]
    blocks: Sequence[Sequence[Sequence[str]]]


def to_markdown(table: Table) -> str:
    """Return the title as a heading of level 3 with the table below it."""
    lines = [table.columns, ["---"] * len(table.columns)]
    lines += [row for block in table.blocks for row in block]
    rows = [f"| {' | '.join(cells)} |" for cells in ([escape(c) for c in line] for line in lines)]
    return f"### {escape(table.title)}\n\n" + "\n".join(rows) + "\n"


def name_once(name: str, rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return a block of rows with its name before the first one."""
    return [[name if at == 0 else "", *row] for at, row in enumerate(rows)]


def format_figure(figure: float | None) -> str:
    """Return a figure to three places for a cell; empty for None."""
    return "" if figure is None else f"{figure:.3f}"


def escape(text: str) -> str:
    """Return the text as one line that Markdown shows literally."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
