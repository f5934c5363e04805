"""The figure of an explanation."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import mathtext
from matplotlib.figure import Figure
from PIL import Image

from enrich.analysis.explain import ReadWord, explain
from enrich.analysis.explanation_figure import MOST_WORDS, draw, new_figure
from enrich.records import Product


def _pixels(file):
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    "product",
    [
        Product("p1", "red shirt", "for the office", "red.jpg"),
        Product("p1", image_path="red.jpg"),
        Product("p1", "red shirt"),
        Product("p1", " ".join(f"word{n}" for n in range(40)), image_path="red.jpg"),
    ],
    ids=["both", "image", "text", "long"],
)
def test_a_product_is_drawn_whatever_it_lacks(engine, product, tmp_path):
    draw(explain(engine, product, MOST_WORDS), tmp_path / "new" / "a.png")
    assert _pixels(tmp_path / "new" / "a.png").std() > 10


@pytest.mark.parametrize(
    "title",
    [
        "shirt $50 to $60",
        r"$\frac{1}{$ broken",
        "$\\unknowncommand$",
        "two\nlines\tand\x00more",
        "תיק עור שחור",
        "قميص أحمر",
        "红色衬衫 👕",
        "half a pair \ud83d",
    ],
)
def test_a_title_is_drawn_as_text_whatever_it_holds(engine, title, tmp_path, monkeypatch):
    def refuse(*given, **more):
        raise AssertionError("a formula was parsed")

    monkeypatch.setattr(mathtext.MathTextParser, "parse", refuse)
    product = Product(title, title, title, "red.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(explain(engine, product, MOST_WORDS), tmp_path / "a.png")
    assert _pixels(tmp_path / "a.png").std() > 10


def test_the_heat_lies_on_the_patch_that_is_looked_at(engine, tmp_path):
    found = explain(engine, Product("p1", image_path="red.jpg"), MOST_WORDS)
    pictures = []
    for corner in ([[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]):
        draw(replace(found, whole_image=np.array(corner)), tmp_path / "a.png")
        pictures.append(_pixels(tmp_path / "a.png").astype(int))
    changed = np.abs(pictures[0] - pictures[1]).sum(2)
    rows, columns = np.nonzero(changed)
    middle = ((rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2)
    # Heat is red on gray: red less blue is large.
    reddish = pictures[0][..., 0] - pictures[0][..., 2]
    upper_right = reddish[rows.min() : middle[0], middle[1] : columns.max()].mean()
    lower_left = reddish[middle[0] : rows.max(), columns.min() : middle[1]].mean()
    assert upper_right > lower_left + 30


def _draw_parts(found, monkeypatch):
    """Return what a picture is put together from."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    draw(found, Path("unwritten.png"))
    return figures[0].axes


def _read(part):
    return [text.get_text() for text in part.texts]


def test_an_attribute_has_confidence_threshold_and_weights(engine, product, monkeypatch):
    found = explain(engine, product, MOST_WORDS)
    color = replace(
        found.answer.predictions[0], label="red", confidence=0.3, image_weight=0.8, abstained=False
    )
    shown = replace(
        found, answer=replace(found.answer, predictions=(color,)), thresholds={color.attribute: 0.7}
    )
    (part,) = (one for one in _draw_parts(shown, monkeypatch) if _read(one))
    assert _read(part) == ["color: red, 30% (image 80%, text 20%)"]
    assert [bar.get_width() for bar in part.patches] == [0.3]
    assert [*part.lines[0].get_xdata()] == [0.7, 0.7]


def test_a_word_is_said_to_speak_for_an_answer_or_against_it(engine, monkeypatch):
    found = explain(engine, Product("p1", "red shirt"), MOST_WORDS)
    added = {"red": 0.25, "blue": -0.25, "shirt": 0.001}
    words = tuple(ReadWord(word, None, {"color": by}) for word, by in added.items())
    part = _draw_parts(replace(found, words=words), monkeypatch)[-1]
    assert [label.get_text() for label in part.get_yticklabels()] == [*added]
    assert _read(part) == [" color +0.25", " color \N{MINUS SIGN}0.25", " changes nothing"]


def test_an_answer_below_its_threshold_looks_otherwise_and_weights_are_optional(engine, tmp_path):
    found = explain(engine, Product("p1", "red shirt", image_path="red.jpg"), MOST_WORDS)

    def drawn(**changes):
        predictions = tuple(replace(p, **changes) for p in found.answer.predictions)
        answer = replace(found.answer, predictions=predictions)
        draw(replace(found, answer=answer), tmp_path / "a.png")
        return _pixels(tmp_path / "a.png")

    assert (drawn(abstained=False) != drawn(abstained=True)).any()
    assert drawn(image_weight=None).std() > 10, "a classifier may not weigh its modalities"


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
