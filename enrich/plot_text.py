"""Text in pictures, in whatever script a shop writes. Knows nothing of what is drawn."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import font_manager

# Stand in, where a machine has them, for the scripts that matplotlib's own font lacks.
_FONTS = ("Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")


def find_fonts() -> list[str]:
    """Returns matplotlib's own font, and those for other scripts that this machine has."""
    available = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(font for font in _FONTS if font in available)]


@contextmanager
def quiet_about_glyphs() -> Iterator[None]:
    """Says nothing of a letter that no font has: it is drawn as a box, which says so by itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
