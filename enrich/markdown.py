"""Tables as Markdown, whatever stands in their cells."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# What Markdown would read as its own. An underscore within a word is none of that.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; `blocks` are runs of rows that belong together."""

    title: str
    columns: Sequence[str]
    blocks: Sequence[Sequence[Sequence[str]]]


def to_markdown(table: Table, level: int = 3) -> str:
    """Returns the title as a heading of that level and the table below it."""
    lines = [table.columns, ["---"] * len(table.columns)]
    lines += [row for block in table.blocks for row in block]
    rows = [f"| {' | '.join(cells)} |" for cells in ([escape(c) for c in line] for line in lines)]
    return f"{'#' * level} {escape(table.title)}\n\n" + "\n".join(rows) + "\n"


def escape(text: str) -> str:
    """Returns the text as one line that Markdown shows as it stands."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
