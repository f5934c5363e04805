"""Links from bars and labels to the products of the page that they are about.

A fact is a tuple such as ("label", "color", "red"). The page's script knows facts by numbers only,
so no text of a product table is ever part of a script or of a selector.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from schemas.labels import ABSTAINED, NOT_APPLICABLE

from enrich.report.content import BINS, Card, Gallery


class Found(NamedTuple):
    """Number of a fact, and how many cards and rows of the page share it."""

    number: int
    products: int


class Finder:
    """Facts of the products on a page."""

    def __init__(self, gallery: Gallery) -> None:
        shown = (*gallery.cards, *gallery.failed)
        counts = Counter(fact for card in shown for fact in set(_facts_of(card)))
        self._found = {fact: Found(n, counts[fact]) for n, fact in enumerate(counts, 1)}

    def find(self, *fact: str) -> Found | None:
        """Return what shares the fact, None for nothing on the page."""
        return self._found.get(fact)

    def numbers(self, card: Card) -> str:
        """Return the numbers of a card's facts, apart by blanks."""
        numbers = (self._found[fact].number for fact in _facts_of(card) if fact in self._found)
        return " ".join(map(str, sorted(set(numbers))))


def _facts_of(card: Card) -> Iterator[tuple[str, ...]]:
    yield "status", card.status
    if card.reason:
        yield "reason", card.reason
    for said in card.answers:
        yield "label", said.attribute, said.label
        if said.old is not None and said.old != said.label:
            yield "change", said.attribute, said.old, said.label
        confidence = said.candidates[0].confidence
        # The threshold is of the classifier's own label.
        if not said.is_corrected and not math.isnan(confidence):
            style = "abstained" if said.label in (ABSTAINED, NOT_APPLICABLE) else "answered"
            yield style, said.attribute, bin_of(confidence)
        if said.image_weight is not None:
            yield "weight", said.attribute, bin_of(said.image_weight)


def bin_of(share: float) -> str:
    """Return the bin of a number in [0, 1]; 1 belongs to the last one."""
    return str(min(int(share * BINS), BINS - 1))
