"""Plot of a comparison."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from PIL import Image

from enrich.analysis.plots import (
    draw_overview,
    new_figure,
)
from enrich.training.batches import Condition


def _check(file: Path) -> None:
    with Image.open(file) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 300
        assert len(image.convert("L").getcolors(256) or []) > 10, "something is drawn"
    assert file.stat().st_size < 300_000


@pytest.mark.filterwarnings("error")
def test_labels_of_any_script_are_drawn_without_a_word(tmp_path: Path) -> None:
    with new_figure(tmp_path / "a.png", "\u7ea2\u8272 \u0e41\u0e14\u0e07", 6.0, 3.0) as figure:
        figure.subplots().set_xticks([0, 1], ["\u7ea2\u8272", "\u0e41\u0e14\u0e07"])
    _check(tmp_path / "a.png")


Record = Callable[..., list[tuple[tuple[Any, ...], dict[str, Any]]]]


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """Return a function that notes the calls of a method, beside making them."""

    def record(owner: type, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        calls, method = [], getattr(owner, name)

        def note(self: object, *given: Any, **how: Any) -> Any:
            calls.append((given, how))
            return method(self, *given, **how)

        monkeypatch.setattr(owner, name, note)
        return calls

    return record


def test_overview_has_a_panel_for_each_shop_and_attribute_that_was_measured(
    tmp_path: Path, record: Record
) -> None:
    titles = record(Axes, "set_title")
    figures = [
        {
            "checkpoint": checkpoint,
            "source": source,
            "condition": condition.value,
            "attribute": attribute,
            "accuracy": 0.5,
            "accuracy_interval": [0.4, 0.6],
        }
        for checkpoint in ("one", r"two_$\x$")
        for source, attribute in (("a", "color"), ("a", "style"), ("b", "color"), ("c", "color"))
        for condition in Condition
    ]
    draw_overview(figures, tmp_path / "deep" / "overview.png")
    _check(tmp_path / "deep" / "overview.png")
    assert [title for (title,), _ in titles] == ["color, a", "style, a", "color, b", "color, c"]
