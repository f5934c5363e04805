"""Figures of the page's charts: label shares side by side, strips, histograms.

Shares of a width are in percent, heights in pixels. `templates/charts.html` draws them as inline
SVG that stretches with the page.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from PIL import ImageColor
from schemas.labels import ABSTAINED, NOT_APPLICABLE

from enrich.report.content import AttributeFacts

HISTOGRAM_PX = 120
_NO_LABEL = (ABSTAINED, NOT_APPLICABLE)


class Piece(NamedTuple):
    """A named part of a whole; `style` is a class of the style sheet.

    `fact` is the common property of its products, as `enrich.report.finder` names it.
    """

    name: str
    amount: float
    style: str
    fact: tuple[str, ...] = ()


class Segment(NamedTuple):
    """A piece with its place in a strip, in percent of the strip's width."""

    piece: Piece
    start: float
    width: float


def lay_out_strip(pieces: Sequence[Piece]) -> list[Segment]:
    """Return the pieces side by side over the whole width, without those of amount 0."""
    pieces = [piece for piece in pieces if piece.amount > 0]
    whole = sum(piece.amount for piece in pieces)
    ends = accumulate(100 * piece.amount / whole for piece in pieces)
    return [
        Segment(piece, end - (width := 100 * piece.amount / whole), width)
        for piece, end in zip(pieces, ends, strict=True)
    ]


class Block(NamedTuple):
    """One rectangle of a histogram: its bin, its style and its place, top down."""

    bin: int
    style: str
    products: int
    top: float
    height: float


def lay_out_histogram(stacks: Mapping[str, Sequence[int]]) -> list[Block]:
    """Return rectangles of counts by bin, stacked by style in the order of `stacks`."""
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


class LabelRow(NamedTuple):
    """One label; a share of all products is in [0, 1], None if there are no products."""

    label: str
    products: int
    share: float | None
    baseline: float | None
    before: float | None

    @property
    def shares(self) -> tuple[float, ...]:
        """Known shares."""
        return tuple(s for s in (self.share, self.baseline, self.before) if s is not None)


def compare_labels(attribute: AttributeFacts) -> list[LabelRow]:
    """Return a row for every label, the most frequent first; no label is last.

    Labels are those of the run, of the published table before it, and of the baseline.
    """
    names = {*attribute.labels, *attribute.before, *attribute.baseline}
    rows = [
        LabelRow(
            label=name,
            products=attribute.labels.get(name, 0),
            share=_share(attribute.labels, name),
            baseline=_share(attribute.baseline, name),
            before=_share(attribute.before, name),
        )
        for name in names
    ]
    return sorted(rows, key=_most_frequent_first)


def find_swatch(label: str) -> str | None:
    """Return the color that a label names, as #rrggbb, None for any other label."""
    name = label.lower().replace(" ", "")
    if name not in ImageColor.colormap:
        return None
    red, green, blue, *_ = ImageColor.getrgb(name)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _share(products: Mapping[str, int], label: str) -> float | None:
    counted = sum(products.values())
    return products.get(label, 0) / counted if counted else None


def _most_frequent_first(row: LabelRow) -> tuple[bool, list[float], str]:
    return row.label in _NO_LABEL, [-share for share in row.shares], row.label
