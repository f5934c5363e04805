"""Words that give a label away, texts without them, and texts with other words around them."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import zip_longest

from enrich.lexicon import Lexicon, match_any
from enrich.text import normalise

_WORD = re.compile(r"\w+")
# Stands for a label word that is taken out; no text has this character.
_MARK = "\0"
# Marks in a row and what joins them, as in "red, green and blue".
_SEVERAL = rf"{_MARK}(?:\W+(?:and\W+)?{_MARK})*"
# With the blanks on one side of them: those on the other side keep the words around apart.
_MARKED = re.compile(rf"\s+{_SEVERAL}(?!\w)|{_SEVERAL}\s*")


class LabelWords:
    """Finds the words that give a label away in a text, to take them out or to change them.

    Labels are looked for as `build_text` would write them.
    """

    def __init__(
        self,
        attributes: dict[str, tuple[str, ...]],
        lexicon: Lexicon,
    ) -> None:
        words = {label for labels in attributes.values() for label in labels}
        for attribute in attributes:
            words.update(lexicon.root.get(attribute, {}))
        known = lexicon.root.items()
        self.lexicon = Lexicon({a: words for a, words in known if a in attributes})
        self.attributes = tuple(attributes)
        self._names = {
            attribute: [*map(normalise, labels)] for attribute, labels in attributes.items()
        }
        self._pattern = match_any(map(normalise, words))
        told_by = {
            attribute: [
                {
                    normalise(word).casefold()
                    for word in (label, *_words_of(label, lexicon.root.get(attribute, {})))
                }
                for label in labels
            ]
            for attribute, labels in attributes.items()
        }
        uses = Counter(word for labels in told_by.values() for word in set().union(*labels))
        # By attribute and label, the words that are of no other attribute as well.
        self._own = {
            attribute: [{word for word in words if uses[word] == 1} for words in labels]
            for attribute, labels in told_by.items()
        }

    def remove(self, text: str) -> str:
        """Returns the text without any label word of any attribute.

        No gap, comma or "and" is left where they were: a classifier trained on such texts could
        tell them from texts of shops that never name a label.
        """
        return _MARKED.sub("", self._pattern.sub(_MARK, text))

    def rename(self, text: str, attribute: str, label: int, to: int) -> str:
        """Returns the text with the name of the label `to` where it has words of `label`.

        A word that is of another attribute as well is neither replaced nor put in: the product's
        label of that attribute would be wrong then.
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


def _words_of(label: str, known: Mapping[str, str]) -> list[str]:
    return [word for word, named in known.items() if named == label]
