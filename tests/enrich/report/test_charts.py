"""Geometry of the charts, label rows and words."""

from dataclasses import replace

import pytest
from PIL import ImageColor

from enrich.report.charts import (
    HISTOGRAM_PX,
    Piece,
    compare_labels,
    find_swatch,
    lay_out_histogram,
    lay_out_strip,
)
from enrich.report.formatting import (
    LONGEST_TEXT,
    format_beside,
    format_number,
    format_share,
    make_printable,
)
from schemas.labels import ABSTAINED

from .conftest import MakeReport


def test_strip_is_filled_in_proportion_and_leaves_nothing_out() -> None:
    segments = lay_out_strip([Piece("a", 30, "x"), Piece("b", 0, "x"), Piece("c", 90, "x")])

    assert [(s.piece.name, s.start, s.width) for s in segments] == [("a", 0, 25), ("c", 25, 75)]
    assert lay_out_strip([Piece("a", 0, "x")]) == []


def test_histogram_stacks_stand_on_one_another_and_the_highest_fills_it() -> None:
    blocks = lay_out_histogram({"below": (2, 0, 1), "above": (2, 0, 0)})

    places = [(b.bin, b.style, b.top, b.height) for b in blocks]
    full = HISTOGRAM_PX
    assert places == [
        (0, "below", full / 2, full / 2),
        (2, "below", full * 3 / 4, full / 4),
        (0, "above", 0, full / 2),
    ]


def test_labels_are_compared_by_share_with_abstained_as_the_last_one(
    make_report: MakeReport,
) -> None:
    attribute = replace(
        make_report().attributes[0],
        labels={ABSTAINED: 6, "red": 1, "blue": 3},
        before={"green": 4},
        baseline={"red": 30, "blue": 10},
    )

    rows = {row.label: row[1:] for row in compare_labels(attribute)}

    assert rows == {
        "blue": (3, 0.3, 0.25, 0),
        "red": (1, 0.1, 0.75, 0),
        "green": (0, 0, 0, 1),
        ABSTAINED: (6, 0.6, 0, 0),
    }
    assert list(rows) == ["blue", "red", "green", ABSTAINED]
    alone = replace(attribute, labels={"red": 2}, before={}, baseline={})
    assert compare_labels(alone) == [("red", 2, 1.0, None, None)]


@pytest.mark.parametrize(
    ("label", "color"),
    [
        ("red", "#ff0000"),
        ("Navy", "#000080"),
        ("light blue", "#add8e6"),
        ("casual", None),
        ("#f00", None),
        # Pillow has kept this one in another form.
        (ImageColor.getrgb("ivory") and "ivory", "#fffff0"),
    ],
)
def test_only_names_of_colors_have_a_swatch(label: str, color: str | None) -> None:
    assert find_swatch(label) == color


def test_words_of_others_are_cut_and_lose_what_cannot_be_seen() -> None:
    assert make_printable("a\u202eb\x00c") == "a b c"
    assert (
        make_printable("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645")
        == "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    )
    assert len(str(make_printable("x" * 10_000))) == LONGEST_TEXT
    assert make_printable(3) == 3


def test_numbers_are_written_for_people() -> None:
    shown = {12345.0: "12,345", 4321.5: "4,322", 100.4: "100", 12.345: "12.3", 0.12345: "0.123"}
    assert {number: format_number(number) for number in shown} == shown
    assert [format_number(0), format_number(None)] == ["0", "-"]
    assert [format_share(s) for s in (0.123, 0.0123, 0.0, 1.0, None)] == [
        "12%",
        "1.2%",
        "0%",
        "100%",
        "-",
    ]


def test_a_figure_and_what_is_allowed_are_told_apart() -> None:
    shown = {
        (0.53, 0.41): ("0.53", "0.41"),
        (0.5291, 0.5288): ("0.5291", "0.5288"),
        (1190.2, 1190.4): ("1190.2", "1190.4"),
        (0, 0): ("0", "0"),
        (None, 0.2): ("-", "0.2"),
    }
    assert {figures: format_beside(*figures) for figures in shown} == shown
