"""Reads CSV files, and finds what is wrong with one before it costs rows."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

_LARGEST_BLOCK = 64 << 20
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_OPENS_A_FIELD = re.compile(r'(?:^|,)"(?=[^",\r\n])')


def explain_separator(header: str) -> str | None:
    """Returns what is wrong with a CSV header of which commas make one column, None if nothing is.

    Spreadsheets of countries with a decimal comma write semicolons.
    """
    for separator, name in _OTHER_SEPARATORS.items():
        if separator in header and "," not in header:
            return (
                f"its columns are separated by {name}; wanted: commas. Save it as CSV again, with "
                "commas and in UTF-8"
            )
    return None


def read_csv(file: Path) -> pa.Table:
    """Returns the table, every column as text; an empty field is NULL.

    Raises:
        OSError, ValueError, ArrowException: the file cannot be read, or is no such table.
    """
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        if (problem := explain_separator(lines.readline())) is not None:
            raise ValueError(problem)
    try:
        return _read_csv_in_blocks(file, pyarrow.csv.ReadOptions())
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error):
            raise
    # A row is longer than Arrow's usual block.
    return _read_csv_in_blocks(file, pyarrow.csv.ReadOptions(block_size=_LARGEST_BLOCK))


def _read_csv_in_blocks(file: Path, blocks: pyarrow.csv.ReadOptions) -> pa.Table:
    # Descriptions hold line breaks. The first pass is over the header alone, for the names.
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(file, read_options=blocks, parse_options=lines) as reader:
        names = reader.schema.names
    text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        check_utf8=False,
    )
    table = pyarrow.csv.read_csv(
        file, read_options=blocks, parse_options=lines, convert_options=text
    )
    find_row_ends(file)
    return table


def find_row_ends(file: Path) -> set[str]:
    """Returns how the rows end: all alike by \\n, \\r\\n or \\r, or by several of these; one pass.

    Raises:
        ValueError: a quotation mark that nothing closes well swallows rows. One that stays within
            a row, such as 5" screen in a quoted text, does not.
    """
    limit = csv.field_size_limit(_LARGEST_BLOCK)
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as content:
            taken: list[str] = []
            ends: set[str] = set()
            rows = csv.reader(_noted(content, taken), strict=True)
            line, columns = 1, 0
            was_whole, end = False, ""
            while True:
                row: list[str] = []
                try:
                    row = next(rows, [])
                    columns = columns or len(row)
                except csv.Error as error:
                    if _are_rows(taken[1:], columns, is_end="unexpected end" in str(error)):
                        raise ValueError(
                            f"a quotation mark in line {line:,} is closed nowhere"
                        ) from error
                if not taken:
                    return ends - {""}
                if row:
                    # A lone \r in a text without quotation marks parts a row here, and not for
                    # Spark: neither part is whole.
                    is_whole = len(row) >= columns
                    if was_whole and is_whole:
                        ends.add(end)
                    was_whole, end = is_whole, taken[-1][len(taken[-1].rstrip("\r\n")) :]
                line += len(taken)
                taken.clear()
    finally:
        csv.field_size_limit(limit)


def _are_rows(lines: Sequence[str], columns: int, *, is_end: bool) -> bool:
    """Tells whether lines that a quotation took along are rows, and no text of several lines.

    Rows have as many commas. The last line, unless it is the file's end, holds what closed the
    quotation badly: in a row that opens one of its own.
    """
    whole = lines if is_end else lines[:-1]
    return any(line.count(",") >= max(1, columns - 1) for line in whole) or (
        not is_end and any(_OPENS_A_FIELD.search(line) for line in lines[-1:])
    )


def _noted(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line
