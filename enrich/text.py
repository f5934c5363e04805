"""Normalisation of title and description to the text that a classifier reads.

Training, hashing and inference all call `build_text`, so that they see the same characters.
"""

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

# More than any text tower reads (77 tokens for CLIP), little enough that one absurd description
# costs no time.
MAX_CHARACTERS = 2_000
# Of one field no more is looked at: a table may hold megabytes.
LONGEST_READ = 4 * MAX_CHARACTERS

# What stands for bytes that were no UTF-8: which ones they were cannot be told any more.
REPLACED = "\ufffd"

# Soft hyphen, joiners and byte order mark stand inside words, and show nothing themselves.
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200c\u200d\u2060\ufeff"))

# What is cut off runs to the end, as in a browser. Nothing here looks at a character more than a
# few times, whatever the text.
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(style|script)(?:\s[^<>=]*=[^<>]*|\s*)>.*?(?:</\1\b[^<>]*>|\Z)"
    r"|</?(?P<tag>[a-z][a-z\d:]*)(?:\s[^<>=]*=[^<>]*(?:>|\Z)|\s*/?>)",
    re.IGNORECASE | re.DOTALL,
)
# "<New>" is none of them.
_NAMES = """
    a abbr address article aside audio b big blockquote body br button caption center cite code col
    colgroup dd del details div dl dt em embed figcaption figure font footer form g h1 h2 h3 h4 h5
    h6 head header hr html i iframe img input ins label li link main mark meta nav noscript o:p
    object ol option p param path picture pre q s script section select small source span strike
    strong style sub summary sup svg table tbody td tfoot th thead time title tr tt u ul video
"""
_TAGS = frozenset(_NAMES.split())
# With their semicolon: without it, "cut&notched" holds one.
_ENTITY = re.compile(r"&#?\w{1,31};")


def fold_label(label: str) -> str:
    """Return the canonical form of a label: labels that look the same are equal.

    In NFC with white space folded. Unlike in `normalise`, characters stay: "10²" is not "102".
    """
    return _fold_space(unicodedata.normalize("NFC", label))


def spell_without_case(labels: Iterable[str]) -> dict[str, str]:
    """Return labels by lower-case form, where the form stands for one label.

    Both "Blue" and "blue" may be labels. Then only the exact spelling can be meant.
    """
    folded = [(fold_label(label).lower(), label) for label in labels]
    count = Counter(name for name, _ in folded)
    return {name: label for name, label in folded if count[name] == 1}


def read_as(labels: Iterable[str]) -> Callable[[str], str | None]:
    """Return a function from a text to the label that it means, None if none.

    Surrounding blanks are ignored, and so is case where one label alone can be meant.
    """
    labels = tuple(labels)
    exact, alone = {fold_label(label): label for label in labels}, spell_without_case(labels)

    def read(text: str) -> str | None:
        name = fold_label(text)
        return exact.get(name) or alone.get(name.lower())

    return read


def normalise(text: str | None) -> str:
    """Return text in NFKC with white space folded, without markup.

    Of HTML the words are left: a tag becomes a space, an entity its character. Invisible
    characters inside words, such as soft hyphens, are removed. Control characters, surrogates
    and the like become a space.

    A value that is not a text gives "": a missing text may arrive as NaN, and a column of a
    wrong type as numbers.
    """
    if not isinstance(text, str):
        return ""
    # Cut before the expensive steps: NFKC may shrink a text, never grow it beyond a few times, and
    # it sorts runs of accents in quadratic time (0.4 s for the worst that is left, two busy cores).
    text = text[:LONGEST_READ]
    if "<" in text or "&" in text:
        text = _without_markup(text)
    text = _fold_space(unicodedata.normalize("NFKC", text))
    # Most texts have none of these characters once their ends of lines are spaces, and looking at
    # each would cost a refresh most of its time.
    if not text.isprintable():
        text = text.translate(_INVISIBLE)
        text = _fold_space("".join(c if unicodedata.category(c)[0] != "C" else " " for c in text))
    return text


def build_text(title: str | None, description: str | None) -> str:
    """Return title and description as one text of at most MAX_CHARACTERS.

    It is "" if both are empty.
    """
    parts = [part for part in (normalise(title), normalise(description)) if part]
    return ". ".join(parts)[:MAX_CHARACTERS]


def _without_markup(text: str) -> str:
    # Feeds escape markup that has entities of its own. Tags go first: in what an attribute says,
    # an entity may stand for the sign that would end its tag.
    for _ in range(2):
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), _without_tags(text))
    return _without_tags(text)


def _without_tags(text: str) -> str:
    return _MARKUP.sub(lambda found: " " if _is_html(found["tag"]) else found[0], text)


def _is_html(tag: str | None) -> bool:
    # None: a comment, style sheet or script.
    return tag is None or tag.lower() in _TAGS


def _fold_space(text: str) -> str:
    return " ".join(text.split())
