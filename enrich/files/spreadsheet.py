"""Keeps a spreadsheet from taking a text for a formula, and finds the text again afterwards."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard(text: str) -> str:
    """Returns the text, with an apostrophe before what would be a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Returns what `guard` was given."""
    return text[1:] if _GUARDED.match(text) else text
