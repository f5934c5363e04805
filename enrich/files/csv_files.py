"""Reads CSV files, and finds what is wrong with one before it costs rows."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

_LARGEST_BLOCK = 64 << 20
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}
# The column that nearly every file here has.
_KEY = "product_id"
_OPENS_A_FIELD = re.compile(r'(?:^|,)"(?=[^",\r\n])')


def explain_separator(header: str) -> str | None:
    """Returns what is wrong with a CSV header that commas hardly part, None if nothing is.

    Spreadsheets of countries with a decimal comma write semicolons.
    """
    for separator, name in _OTHER_SEPARATORS.items():
        by_comma, by_other = (
            [cell.strip(' "\r\n') for cell in header.split(mark)] for mark in (",", separator)
        )
        # A column's name may hold either. Where no name is known, most columns decide.
        is_likely = separator in by_comma[0] and len(by_other) > len(by_comma)
        if _KEY not in by_comma and (_KEY in by_other or is_likely):
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
        header = lines.readline()
        if (problem := explain_separator(header)) is not None:
            raise ValueError(problem)
        # Arrow cannot tell the columns of such a header.
        if header and not header.endswith("\n"):
            raise ValueError("it is a header without a row")
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
        ends: set[str] = set()
        line, columns, end_before = 1, 0, ""
        for row, lines, complaint in _rows(file):
            columns = columns or len(row)
            if complaint and _are_rows(lines[1:], columns, is_end="unexpected end" in complaint):
                raise ValueError(f"a quotation mark in line {line:,} is closed nowhere")
            # A lone \r in a text without quotation marks parts a row here, and not for Spark:
            # neither part is whole.
            if len(row) >= columns > 0:
                ends.add(end_before)
                end_before = lines[-1][len(lines[-1].rstrip("\r\n")) :]
            elif row:
                end_before = ""
            line += len(lines)
        return ends - {""}
    finally:
        csv.field_size_limit(limit)


def _rows(file: Path) -> Iterator[tuple[list[str], list[str], str]]:
    """Yields each row with the lines that it was read from, and what is wrong with it, if it is."""
    taken: list[str] = []
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as content:
        rows = csv.reader(_noted(content, taken), strict=True)
        while True:
            row, complaint = [], ""
            try:
                row = next(rows, [])
            except csv.Error as error:
                complaint = str(error)
            if not taken:
                return
            yield row, taken.copy(), complaint
            taken.clear()


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
