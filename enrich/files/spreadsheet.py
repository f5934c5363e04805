"""Writes texts for a spreadsheet, and keeps it from taking one for a formula."""

import csv
import re
from pathlib import Path

import pandas as pd

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


def write_csv(table: pd.DataFrame, file: Path) -> None:
    """Writes a table as CSV, all of it in quotation marks.

    Without them Python leaves a lone carriage return inside a text as it is, and readers end the
    row there.
    """
    table.to_csv(file, index=False, quoting=csv.QUOTE_ALL)
