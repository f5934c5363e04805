"""Geometry of the charts, label rows and words."""

from dataclasses import replace

import pytest
from PIL import ImageColor

from enrich.report.formatting import format_beside
from enrich.report.page import HISTOGRAM_PX, compare_labels, find_swatch, lay_out_histogram
from schemas.labels import ABSTAINED


def test_histogram_stacks_stand_on_one_another_and_the_highest_fills_it():
    blocks = lay_out_histogram({"below": (2, 0, 1), "above": (2, 0, 0)})

    places = [(b.bin, b.style, b.top, b.height) for b in blocks]
    full = HISTOGRAM_PX
    assert places == [
        (0, "below", full / 2, full / 2),
        (2, "below", full * 3 / 4, full / 4),
        (0, "above", 0, full / 2),
    ]


def test_labels_are_compared_by_share_with_abstained_as_the_last_one(make_report):
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
def test_only_names_of_colors_have_a_swatch(label, color):
    assert find_swatch(label) == color


def test_a_figure_and_what_is_allowed_are_told_apart():
    shown = {
        (0.53, 0.41): ("0.53", "0.41"),
        (0.5291, 0.5288): ("0.5291", "0.5288"),
        (1190.2, 1190.4): ("1190.2", "1190.4"),
        (0, 0): ("0", "0"),
        (None, 0.2): ("-", "0.2"),
    }
    assert {figures: format_beside(*figures) for figures in shown} == shown
