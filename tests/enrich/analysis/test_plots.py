"""Plot of a comparison."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from enrich.analysis.plots import (
    COLORS,
    ByCondition,
    draw_checkpoint,
    draw_confusion,
    draw_overview,
    draw_precision_recall,
    draw_reliability,
    file_name,
    new_figure,
)
from enrich.training.answers import CalibratedAnswers
from enrich.training.batches import Condition

MakeAnswers = Callable[[int, int, int], CalibratedAnswers]


def _check(file: Path) -> None:
    with Image.open(file) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 300
        assert len(image.convert("L").getcolors(256) or []) > 10, "something is drawn"
    assert file.stat().st_size < 300_000


def test_a_checkpoint_gets_its_plots(
    tmp_path: Path, answered: ByCondition, labels: dict[str, tuple[str, ...]]
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "confusion-of_an_earlier_one.png").touch()
    draw_checkpoint(answered, labels, r"a $\x$ b on c_d", tmp_path / "made")
    names = {file.name for file in (tmp_path / "made").iterdir()}
    confusions = {"confusion-color.png", "confusion-pattern.png"}
    assert names == {"reliability.png", "precision-recall.png", "modality-weights.png"} | confusions
    for name in names:
        _check(tmp_path / "made" / name)


@pytest.mark.filterwarnings("error")
def test_labels_of_any_script_are_drawn_without_a_word(tmp_path: Path) -> None:
    with new_figure(tmp_path / "a.png", "\u7ea2\u8272 \u0e41\u0e14\u0e07", 6.0, 3.0) as figure:
        figure.subplots().set_xticks([0, 1], ["\u7ea2\u8272", "\u0e41\u0e14\u0e07"])
    _check(tmp_path / "a.png")


def test_a_classifier_that_weighs_nothing_gets_no_plot_of_weights(
    tmp_path: Path, answered: ByCondition, labels: dict[str, tuple[str, ...]]
) -> None:
    weightless = {
        condition: {
            a: replace(answers, of=replace(answers.of, image_weight=None))
            for a, answers in found.items()
        }
        for condition, found in answered.items()
    }
    draw_checkpoint(weightless, labels, "a on b", tmp_path)
    assert not (tmp_path / "modality-weights.png").exists()
    assert (tmp_path / "precision-recall.png").exists()


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


@pytest.mark.parametrize("rows", [9, 15, 129, 3_000])
def test_every_product_is_in_a_dot_of_the_reliability_plot(
    tmp_path: Path, rows: int, make_answers: MakeAnswers, record: Record
) -> None:
    drawn, answers = record(Axes, "scatter"), make_answers(rows, 3, 0)
    draw_reliability({"color": answers}, "title", tmp_path / "r.png")
    (_, accuracy, area), _ = drawn[1]
    shares = (area - 8) / 250
    assert shares.sum() == pytest.approx(1)
    assert (shares * rows).min() > min(9, rows - 1)
    is_right = answers.probs.argmax(1) == answers.of.targets
    assert (shares * accuracy).sum() == pytest.approx(is_right.float().mean().item())


@pytest.fixture
def line(tmp_path: Path, record: Record) -> Callable[[CalibratedAnswers], list[list[float]]]:
    """Return a function that gives recall and precision of the points of the drawn line."""
    drawn = record(Axes, "plot")

    def line(answers: CalibratedAnswers) -> list[list[float]]:
        drawn.clear()
        draw_precision_recall({Condition.AS_IS: {"color": answers}}, "title", tmp_path / "p.png")
        (points,) = (given[:2] for given, how in drawn if "lw" in how)
        return [torch.as_tensor(one).tolist() for one in points]

    return line


def test_answers_of_one_confidence_are_one_point_whatever_their_order(
    make_answers: MakeAnswers, line: Callable[[CalibratedAnswers], list[list[float]]]
) -> None:
    answers = make_answers(400, 3, 0)
    flat = torch.tensor([[0.6, 0.3, 0.1]]).repeat(400, 1)
    for targets in (torch.arange(400) >= 100, torch.arange(400) % 4 > 0, torch.arange(400) < 300):
        alike = replace(answers, probs=flat, of=replace(answers.of, targets=targets.long()))
        assert line(alike) == [[0.25], [0.25]]


@pytest.mark.parametrize("rows", [1, 12])
def test_the_line_of_a_few_answers_ends_at_all_of_them(
    rows: int,
    make_answers: MakeAnswers,
    line: Callable[[CalibratedAnswers], list[list[float]]],
) -> None:
    answers = make_answers(rows, 3, 0)
    right = (answers.probs.argmax(1) == answers.of.targets).float().mean().item()
    recall, precision = line(answers)
    assert [recall[-1], precision[-1]] == pytest.approx([right, right])


def test_products_as_they_are_lie_on_top_of_the_other_conditions(
    tmp_path: Path, answered: ByCondition, record: Record
) -> None:
    drawn = record(Axes, "plot")
    draw_precision_recall(answered, "title", tmp_path / "p.png")
    lines = [how["color"] for _, how in drawn if how.get("color")]
    assert lines == [*reversed(COLORS.values())] * 2


def test_confusions_are_shares_of_each_label(
    tmp_path: Path, answered: ByCondition, record: Record
) -> None:
    drawn, answers = record(Axes, "imshow"), answered[Condition.AS_IS]["color"]
    # The fourth label neither occurs nor is answered, and takes no place.
    draw_confusion(answers, ("a", "b", "c", "d"), "title", tmp_path / "c.png")
    ((shares,), _), *_ = drawn
    assert shares.shape == (3, 3) and shares.sum(1) == pytest.approx([100] * 3)
    of_first = answers.probs[answers.of.targets == 0].argmax(1)
    assert shares[0, 0] == pytest.approx(100 * (of_first == 0).float().mean().item())


def test_of_many_labels_the_most_frequent_are_drawn_and_the_title_says_so(
    tmp_path: Path, make_answers: MakeAnswers, record: Record
) -> None:
    drawn, titles = record(Axes, "imshow"), record(Figure, "suptitle")
    answers = make_answers(3000, 70, 0)
    # Half of the products with one of the first ten labels lose it to the eleventh.
    targets = answers.of.targets
    targets[(targets < 10) & (torch.arange(3000) % 2 == 0)] = 10
    draw_confusion(answers, tuple(f"label {n}" for n in range(70)), "title", tmp_path / "c.png")
    ((shares,), _), *_ = drawn
    # One more column has all other answers.
    assert shares.shape == (60, 61) and shares.sum(1) == pytest.approx([100] * 60)
    assert titles[0][0] == ("title\nthe 60 most frequent of 70 labels",)
    eleventh = answers.probs[targets == 10].argmax(1)
    assert shares[0, 0] == pytest.approx(100 * (eleventh == 10).float().mean().item())
    assert shares[0, 60] == pytest.approx(100 * (eleventh < 10).float().mean().item())


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


def test_names_become_file_names_that_any_system_takes() -> None:
    assert file_name("sleeve/length: a?b") == "sleeve-length-a-b"
    assert file_name("cma-clip_v1.2") == "cma-clip_v1.2"
    assert file_name("gro\u0308\u00dfe") == file_name("größe") == "größe"
    assert file_name("模型一") != file_name("模型二") and file_name("लाल") != file_name("लोल")
