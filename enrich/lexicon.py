"""Lexicon: the words by which texts name labels, and a search for them.

A checkpoint brings its words in `lexicon.json`, and a source adds its own in its settings.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
from pydantic import RootModel
from schemas.labels import RESERVED

from enrich.text import normalise

# A character of a word, but for scripts that write no blanks between words: Thai to Myanmar, Khmer,
# kana, Han.
_IN_A_WORD = re.compile(r"(?![\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])\w")
# Titles repeat within a catalog.
_REMEMBERED = 4_096

# Title and description of a product.
ProductText = tuple[str | None, str | None]
# What a source adds to the lexicon, by attribute and word: a label, or None to take a word out.
OwnWords = Mapping[str, Mapping[str, str | None]]


class Named(NamedTuple):
    """The labels of one attribute that N texts name, each Boolean (N, C).

    `unread` are those named by a word of the source's own, such as one of another language: the
    text tower has not learnt it.
    """

    every: np.ndarray
    unread: np.ndarray


class Evidence(StrEnum):
    """Kind of support that a title gives the answer to one attribute."""

    NAMED = "named"
    CONTRADICTED = "contradicted"
    SEVERAL = "several"
    SILENT = "silent"


class Lexicon(RootModel[dict[str, dict[str, str]]]):
    """The label of each word, by attribute and word: the content of `lexicon.json`."""

    @classmethod
    def of_labels(cls, words: Mapping[str, Mapping[str, Iterable[str]]]) -> "Lexicon":
        """Return the lexicon of words that are listed by attribute and label."""
        return cls(
            {
                attribute: {word: label for label, listed in by_label.items() for word in listed}
                for attribute, by_label in words.items()
            }
        )


class LabelFinder:
    """Finder of the labels that texts name, by label or by a lexicon's word."""

    def __init__(
        self,
        attributes: Mapping[str, Sequence[str]],
        lexicon: Lexicon,
        in_descriptions: Iterable[str] = (),
        own: OwnWords | None = None,
    ) -> None:
        """Compile the words. Words of labels that an attribute does not have are left out.

        Labels are looked for in titles (see `choose_title`), those of the attributes
        `in_descriptions` also in descriptions of products whose titles name none. A label's name
        means that label, also where the lexicon has it as a word of another. `own` are the source's
        own words, which go before both; None takes a word out of the lexicon.
        """
        self._in_descriptions = frozenset(in_descriptions)
        self._widths = {attribute: len(labels) for attribute, labels in attributes.items()}
        added = own or {}
        self._learnt = {a: _place(labels, lexicon, a) for a, labels in attributes.items()}
        self._places = {
            a: _add_words(self._learnt[a], labels, added.get(a, {}))
            for a, labels in attributes.items()
        }
        self._patterns = {
            attribute: match_any(places, re.NOFLAG) for attribute, places in self._places.items()
        }
        self._find = lru_cache(_REMEMBERED)(self._find_in)

    def find(self, texts: Sequence[ProductText]) -> dict[str, Named]:
        """Return by attribute which labels each product's text names.

        Labels are in the order of the attributes given.
        """
        named = {
            attribute: Named(*(np.zeros((len(texts), width), bool) for _ in Named._fields))
            for attribute, width in self._widths.items()
        }
        for row, (title, description) in enumerate(texts):
            described = description if self._in_descriptions or not title else None
            if title or described:
                for attribute, every, unread in self._find(title, described):
                    named[attribute].every[row, every] = True
                    named[attribute].unread[row, unread] = True
        return named

    def _find_in(
        self, title: str | None, description: str | None
    ) -> list[tuple[str, list[int], list[int]]]:
        short, *others = (_fold(one) for one in (title, description) if one)
        found = []
        for attribute, pattern in self._patterns.items():
            words = pattern.findall(short)
            if not words and others and attribute in self._in_descriptions:
                words = pattern.findall(others[0])
            if words:
                places, learnt = self._places[attribute], self._learnt[attribute]
                read = {places[word] for word in words if learnt.get(word) == places[word]}
                every = [places[word] for word in words]
                found.append((attribute, every, [at for at in every if at not in read]))
        return found


def _place(labels: Sequence[str], lexicon: Lexicon, attribute: str) -> dict[str, int]:
    """Return the place in `labels` of the label that each word names."""
    names = _place_names(labels)
    words = lexicon.root.get(attribute, {}).items()
    meant = {_fold(word): names[_fold(label)] for word, label in words if _fold(label) in names}
    return meant | names


def _add_words(
    places: Mapping[str, int], labels: Sequence[str], own: Mapping[str, str | None]
) -> dict[str, int]:
    """Return the places with those of a source's own words."""
    names = _place_names(labels)
    taken_out = {_fold(word) for word in own} - names.keys()
    kept = {word: place for word, place in places.items() if word not in taken_out}
    given = ((_fold(word), _fold(label)) for word, label in own.items() if label is not None)
    return kept | {word: names[label] for word, label in given if label in names}


def _place_names(labels: Sequence[str]) -> dict[str, int]:
    # RESERVED ones are for people: "other" in a text is a word like any.
    return {_fold(label): at for at, label in enumerate(labels) if label not in RESERVED}


def _fold(word: str) -> str:
    return normalise(word).casefold()


def choose_title(title: str | None, description: str | None) -> str | None:
    """Return the text that a trained attribute's labels are looked for in.

    It is the title, or the description of a product without a title.

    Descriptions speak of washing, of other products and of other colors. On 3,850 products, a
    title that names one pattern was right in 0.94, title or description in 0.74.
    """
    return title or description


def weigh(named: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return what texts say of answers, as places in `Evidence`.

    `named` (N, C) is true for labels that a text names, `best` (N,) is the place of each answer's
    label.
    """
    counts = named.sum(1)
    agrees = named[np.arange(len(best)), best]
    kinds = list(Evidence)
    return np.select(
        [counts == 0, counts > 1, agrees],
        [kinds.index(k) for k in (Evidence.SILENT, Evidence.SEVERAL, Evidence.NAMED)],
        kinds.index(Evidence.CONTRADICTED),
    )


def match_any(words: Iterable[str], flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    """Return a pattern of any of the words, as whole words and the longest first."""
    # So "sea green" goes before "green".
    longest_first = sorted({*words} - {""}, key=lambda word: (-len(word), word))
    alternatives = [
        f"{before}(?:{'|'.join(map(re.escape, alike))}){after}"
        for (before, after), alike in groupby(longest_first, _choose_bounds)
    ]
    # Without any word: what never matches.
    return re.compile("|".join(alternatives) or r"(?!)", flags)


def _choose_bounds(word: str) -> tuple[str, str]:
    """Return patterns around a word that keep it from matching in a longer one.

    They are empty at an end that is a symbol, or of a script without blanks between words.
    There the end of a word cannot be told.
    """
    begins, ends = (_IN_A_WORD.fullmatch(end) for end in (word[0], word[-1]))
    return r"(?<!\w)" if begins else "", r"(?!\w)" if ends else ""
