"""Choice of the products on a page: a few of each kind, always the same ones."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from enrich.records import Candidate
from enrich.report.content import Card, Gallery, ShownAnswer

# Number of cards in each section.
SECTIONS = {
    "changed": 24,
    "contradictions": 12,
    "unsure": 18,
    "examples": 36,
    "failed": 18,
    "quarantined": 18,
}
# Sections whose cards are about an attribute.
_ABOUT = ("changed", "contradictions", "unsure", "examples")
# Number of products that are offered for each part of a section.
CARDS_A_PART = 6
# Between an attribute and its labels in the name of a part.
SEPARATOR = "\x1f"

Row = Mapping[str, Any]


def fill_gallery(rows: Iterable[Row], counts: Mapping[str, int]) -> Gallery:
    """Return the gallery, with as many cards as each section holds.

    Args:
        rows: the products offered, with the fields of a card, and `section`, `part` and `place`.
            A part of a section is a status, a reason, or an attribute and its labels.
        counts: number of products of a part, for parts with labels; larger parts come first.
    """
    by_section: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_section[row["section"]].append(row)
    sections = {name: _choose(name, by_section[name], counts) for name in SECTIONS}
    return Gallery(**{name: tuple(map(_card, chosen)) for name, chosen in sections.items()})


def _choose(section: str, rows: list[Row], counts: Mapping[str, int]) -> Sequence[Row]:
    """Return the rows of a section, taking turns between attributes and their parts."""
    rows.sort(key=lambda row: (row["place"], -counts.get(row["part"], 0), row["part"]))
    if section == "examples":
        # A product appears once: its first place is an example of all its labels.
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row["product_id"], row)
        rows = [*first.values()]
    turns: Counter[str] = Counter()
    in_turn = []
    for row in rows:
        group = _group(row)
        in_turn.append((turns[group], group, row))
        turns[group] += 1
    in_turn.sort(key=lambda one: one[:2])
    chosen = in_turn[: SECTIONS[section]]
    return [row for _, _, row in sorted(chosen, key=lambda one: (one[1], one[0]))]


def _group(row: Row) -> str:
    group, _, _ = row["part"].partition(SEPARATOR)
    return group


def _card(row: Row) -> Card:
    same = ("product_id", "status", "title", "image_path", "modalities", "error", "reason")
    return Card(
        **{name: row[name] for name in same},
        answers=tuple(map(_answer, row["answers"] or ())),
        category=row["product_category"],
        about=_group(row) if row["section"] in _ABOUT else None,
    )


def _answer(answer: Row) -> ShownAnswer:
    same = ("attribute", "label", "is_corrected", "old", "image_weight", "named")
    pairs = [(one["label"], one["confidence"]) for one in answer["candidates"]]
    candidates = tuple(Candidate(label, math.nan if c is None else c) for label, c in pairs)
    return ShownAnswer(**{name: answer[name] for name in same}, candidates=candidates)
