"""Figures as PNG files."""

import pytest
from PIL import Image

from enrich.analysis.explanation_figure import new_figure


def _check(file):
    with Image.open(file) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 300
        assert len(image.convert("L").getcolors(256) or []) > 10, "something is drawn"
    assert file.stat().st_size < 300_000


@pytest.mark.filterwarnings("error")
def test_labels_of_any_script_are_drawn_without_a_word(tmp_path):
    with new_figure(tmp_path / "a.png", "\u7ea2\u8272 \u0e41\u0e14\u0e07", 6.0, 3.0) as figure:
        figure.subplots().set_xticks([0, 1], ["\u7ea2\u8272", "\u0e41\u0e14\u0e07"])
    _check(tmp_path / "a.png")
