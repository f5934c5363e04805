"""Links from bars and labels of a page to their products on the page.

A fact is a tuple such as ("label", "color", "red"). The page's script has numbers of facts only, so
no text of a product table is ever part of a script or of a selector.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from schemas.labels import ABSTAINED, NOT_APPLICABLE

from enrich.report.content import BINS, Card, Gallery


class FactCount(NamedTuple):
    """Number of a fact, and the number of cards and rows of the page that share it."""

    number: int
    products: int


class Finder:
    """Facts of the products on a page."""

    def __init__(self, gallery: Gallery) -> None:
        shown = (*gallery.cards, *gallery.failed)
        counts = Counter(fact for card in shown for fact in set(_facts_of(card)))
        self._found = {fact: FactCount(n, counts[fact]) for n, fact in enumerate(counts, 1)}

    def find(self, *fact: str) -> FactCount | None:
        """Return the count of a fact, None if the page has no product with it."""
        return self._found.get(fact)

    def numbers(self, card: Card) -> str:
        """Return the numbers of a card's facts, separated by blanks."""
        numbers = (self._found[fact].number for fact in _facts_of(card) if fact in self._found)
        return " ".join(map(str, sorted(set(numbers))))


def _facts_of(card: Card) -> Iterator[tuple[str, ...]]:
    yield "status", card.status
    if card.reason:
        yield "reason", card.reason
    for answer in card.answers:
        yield "label", answer.attribute, answer.label
        if answer.old is not None and answer.old != answer.label:
            yield "change", answer.attribute, answer.old, answer.label
        confidence = answer.candidates[0].confidence
        # The threshold is of the classifier's own label.
        if not answer.is_corrected and not math.isnan(confidence):
            style = "abstained" if answer.label in (ABSTAINED, NOT_APPLICABLE) else "answered"
            yield style, answer.attribute, bin_of(confidence)
        if answer.image_weight is not None:
            yield "weight", answer.attribute, bin_of(answer.image_weight)


def bin_of(share: float) -> str:
    """Return the bin of a number in [0, 1]; 1 belongs to the last one."""
    return str(min(int(share * BINS), BINS - 1))
