"""Keeps a spreadsheet from taking a text for a formula, and finds the text again afterwards."""

import re

# Some also take the full-width ones of East Asia, and what follows a line break.
_SIGN = r"[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"
_FORMULA = re.compile(f"'*{_SIGN}")
_GUARDED = re.compile(f"'+{_SIGN}")


def guard(text: str) -> str:
    """Returns the text, with an apostrophe before what would be a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Returns what `guard` was given."""
    return text[1:] if _GUARDED.match(text) else text
