"""From token ids back to words that a person reads. Knows nothing of classifiers."""

import re
import unicodedata
from dataclasses import dataclass

from tokenizers import Tokenizer

# Not \w+, which would tear t-shirt, women's and the vowel signs of Indian scripts apart.
_CHUNK = re.compile(r"[^\s/|,;:&+()\[\]{}<>=\"]+")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: `tokens` are all its tokens' positions, `spans` its places in the text.

    A word that stands in the text twice is one word with two places.
    """

    text: str
    tokens: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def read_words(tokenizer: Tokenizer, text: str) -> list[Word]:
    """Returns the words of a text that the classifier reads, lower-cased and in order.

    Punctuation is left out, and so is what lies behind the tokens that the tokenizer keeps.
    """
    encoded = tokenizer.encode(text)
    places: dict[str, list[tuple[int, int]]] = {}
    for chunk in _CHUNK.finditer(text):
        # Letters, numbers and marks, and whatever stands between the first and the last of them.
        inner = [i for i, c in enumerate(chunk.group()) if unicodedata.category(c)[0] in "LNM"]
        if inner:
            start, end = chunk.start() + inner[0], chunk.start() + inner[-1] + 1
            places.setdefault(text[start:end].casefold(), []).append((start, end))
    words = []
    for word, spans in places.items():
        tokens = tuple(
            position
            for position, (start, end) in enumerate(encoded.offsets)
            if any(start < span_end and end > span_start for span_start, span_end in spans)
        )
        if tokens:
            words.append(Word(word, tokens, tuple(spans)))
    return words


def without(word: Word, text: str) -> str:
    """Returns the text with every place of the word left out."""
    for start, end in reversed(word.spans):
        text = text[:start] + text[end:]
    return " ".join(text.split())
