"""Text in pictures, in whatever script a shop writes. Knows nothing of what is drawn."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib import font_manager

from enrich.text import normalise

# Stand in, where a machine has them, for the scripts that matplotlib's own font lacks.
_FONTS = ("Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")


@contextmanager
def plain_text() -> Iterator[None]:
    """Draws text as it stands, with matplotlib's own font and those that this machine has."""
    available = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(font for font in _FONTS if font in available)]
    # A "$" in a label, a title or a folder's name would start a formula otherwise.
    style: dict[Any, Any] = {"font.family": fonts, "text.parse_math": False}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A letter that no font has is drawn as a box, which says so by itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def shorten(text: str, characters: int) -> str:
    """Returns the text on one line without control characters, cut with an ellipsis."""
    line = normalise(text)
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
