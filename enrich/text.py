"""From title and description to the one text that the classifier reads.

Training, hashing and inference all call `build_text`, so that they see the same characters.
Knows nothing of tokens.
"""

import re
import unicodedata

# More than any text tower reads (77 tokens for CLIP), little enough that one absurd description
# costs no time.
MAX_CHARACTERS = 2_000

_SPACE = re.compile(r"\s+")


def normalise(text: str | None) -> str:
    """Returns text in NFKC with white space folded and without control or surrogate characters."""
    if not text:
        return ""
    # Cut before the expensive steps: NFKC may shrink a text, never grow it beyond a few times.
    text = unicodedata.normalize("NFKC", text[: 4 * MAX_CHARACTERS])
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return _SPACE.sub(" ", text).strip()


def build_text(title: str | None, description: str | None) -> str:
    """Returns title and description as one text of at most MAX_CHARACTERS, "" if both are empty."""
    parts = [part for part in (normalise(title), normalise(description)) if part]
    return ". ".join(parts)[:MAX_CHARACTERS]
