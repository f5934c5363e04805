"""Output for people: lines and progress on standard error, and tables in Markdown.

Of several processes that torchrun started the first one alone shows anything.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track


def rank() -> int:
    """Returns this process's number; 0 is the one that evaluates, saves and prints."""
    # Loads torch, which jobs without a model do without.
    import torch.distributed as dist

    return dist.get_rank() if dist.is_initialized() else 0


Item = TypeVar("Item")

CONSOLE = Console(stderr=True)


def say(text: str) -> None:
    """Prints a line."""
    if rank() == 0:
        # A label's name may hold what Rich takes for markup.
        CONSOLE.print(text, soft_wrap=True, markup=False)


def watch(items: Iterable[Item], title: str, total: int) -> Iterable[Item]:
    """Returns the items, and shows how many of them are done."""
    return track(items, title, total, console=CONSOLE, transient=True, disable=rank() > 0)


def print_markdown(text: str) -> None:
    """Prints Markdown on standard output, as wide in a log as on a screen."""
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
    """Returns the title as a heading of level 3 and the table below it."""
    lines = [table.columns, ["---"] * len(table.columns)]
    lines += [row for block in table.blocks for row in block]
    rows = [f"| {' | '.join(cells)} |" for cells in ([escape(c) for c in line] for line in lines)]
    return f"### {escape(table.title)}\n\n" + "\n".join(rows) + "\n"


def name_once(name: str, rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Returns a block of rows with its name before the first one."""
    return [[name if at == 0 else "", *row] for at, row in enumerate(rows)]


def format_figure(figure: float | None) -> str:
    """Returns a figure as a cell, to three places; one that is not known is empty."""
    return "" if figure is None else f"{figure:.3f}"


def escape(text: str) -> str:
    """Returns the text as one line that Markdown shows as it stands."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
