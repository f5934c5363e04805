"""The geometry of the page's charts: shares of a width in percent, heights in pixels.

`templates/charts.html` draws it as inline SVG that stretches with the page. Knows no HTML.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

HISTOGRAM_PX = 120


class Piece(NamedTuple):
    """A named part of a whole; `style` is a class of the style sheet."""

    name: str
    amount: float
    style: str


class Segment(NamedTuple):
    """A piece with its place in a strip, in percent of the strip's width."""

    piece: Piece
    start: float
    width: float


def lay_out_strip(pieces: Sequence[Piece]) -> list[Segment]:
    """Returns the pieces side by side over the whole width; those of amount 0 are left out."""
    pieces = [piece for piece in pieces if piece.amount > 0]
    whole = sum(piece.amount for piece in pieces)
    ends = accumulate(100 * piece.amount / whole for piece in pieces)
    return [
        Segment(piece, end - (width := 100 * piece.amount / whole), width)
        for piece, end in zip(pieces, ends, strict=True)
    ]


class Block(NamedTuple):
    """One rectangle of a histogram: its bin, its style and where it stands, top down."""

    bin: int
    style: str
    products: int
    top: float
    height: float


def lay_out_histogram(stacks: Mapping[str, Sequence[int]]) -> list[Block]:
    """Returns the rectangles of counts by bin, stacked in the order of `stacks`, by style."""
    highest = max((sum(counts) for counts in zip(*stacks.values(), strict=True)), default=0)
    blocks = []
    below = [0] * len(next(iter(stacks.values())))
    for style, counts in stacks.items():
        for place, count in enumerate(counts):
            below[place] += count
            if count:
                top = HISTOGRAM_PX * (1 - below[place] / highest)
                blocks.append(Block(place, style, count, top, HISTOGRAM_PX * count / highest))
    return blocks
