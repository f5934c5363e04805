"""What a person sees on standard error of work that takes long: lines, and a bar of what is done.

Of several processes that work together the first one alone shows anything.
"""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from enrich.ranks import rank

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
