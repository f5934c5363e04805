"""Words that give a label away, texts without them, and texts with other words around them."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import groupby, zip_longest

from enrich.text import normalise

# Not of scripts that write words without blanks between them: Thai to Myanmar, Khmer, kana, Han.
_IN_A_WORD = re.compile(r"(?![\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])\w")
_WORD = re.compile(r"\w+")
# A character that texts do not have.
_MARK = "\0"
_SEVERAL = rf"{_MARK}(?:\W+(?:and\W+)?{_MARK})*"
# With the blanks on one side, so that those on the other part the words around.
_MARKED = re.compile(rf"\s+{_SEVERAL}(?!\w)|{_SEVERAL}\s*")


class LabelWords:
    """Finds the words that give a label away in a text, to take them out or to change them.

    Labels are looked for as `build_text` would write them.
    """

    def __init__(
        self,
        attributes: dict[str, tuple[str, ...]],
        synonyms: dict[str, dict[str, tuple[str, ...]]],
    ) -> None:
        words = {label for labels in attributes.values() for label in labels}
        for attribute in attributes:
            for known in synonyms.get(attribute, {}).values():
                words.update(known)
        self.attributes = tuple(attributes)
        self._names = {
            attribute: [*map(normalise, labels)] for attribute, labels in attributes.items()
        }
        self._pattern = _match_any(set(map(normalise, words)))
        told_by = {
            attribute: [
                {
                    normalise(word).casefold()
                    for word in (label, *synonyms.get(attribute, {}).get(label, ()))
                }
                for label in labels
            ]
            for attribute, labels in attributes.items()
        }
        uses = Counter(word for labels in told_by.values() for word in set().union(*labels))
        # Of each label the words that tell of no other attribute.
        self._own = {
            attribute: [{word for word in words if uses[word] == 1} for words in labels]
            for attribute, labels in told_by.items()
        }

    def remove(self, text: str) -> str:
        """Returns the text without any label word of any attribute.

        No gap, comma or "and" tells that there were any, or how many: a classifier that is trained
        on such texts would know them from those of shops that never name a label.
        """
        return _MARKED.sub("", self._pattern.sub(_MARK, text))

    def rename(self, text: str, attribute: str, label: int, to: int) -> str:
        """Returns the text with another label's name where it has words of this one.

        Words that tell of another attribute as well stay, and a name that does comes into no text:
        that one's label would be wrong then.
        """
        name = self._names[attribute][to]
        own = self._own[attribute][label]
        if name.casefold() not in self._own[attribute][to]:
            return text
        return self._pattern.sub(
            lambda found: name if found[0].casefold() in own else found[0], text
        )

    def find_others(self, text: str) -> list[str]:
        """Returns the text's words that are no label words, in order."""
        return [word for gap in self._pattern.split(text) for word in _WORD.findall(gap)]

    def change_others(self, text: str, change: Callable[[str], str]) -> str:
        """Returns the text with every word changed that is no label word."""
        gaps, labels = self._pattern.split(text), self._pattern.findall(text)
        changed = [_WORD.sub(lambda found: change(found[0]), gap) for gap in gaps]
        return "".join(part for pair in zip_longest(changed, labels, fillvalue="") for part in pair)


def _match_any(words: set[str]) -> re.Pattern[str]:
    # Longest first, so that "sea green" goes before "green".
    longest_first = sorted(words - {""}, key=lambda word: (-len(word), word))
    alternatives = [
        f"{before}(?:{'|'.join(map(re.escape, alike))}){after}"
        for (before, after), alike in groupby(longest_first, _choose_bounds)
    ]
    # Without any word: what never matches.
    return re.compile("|".join(alternatives) or r"(?!)", re.IGNORECASE)


def _choose_bounds(word: str) -> tuple[str, str]:
    """Returns what stands before and after a word that is no part of another one, as patterns.

    Nothing at an end that is a symbol, nor in scripts without blanks between words: there it cannot
    be told.
    """
    begins, ends = (_IN_A_WORD.fullmatch(end) for end in (word[0], word[-1]))
    return r"(?<!\w)" if begins else "", r"(?!\w)" if ends else ""
