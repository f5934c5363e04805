"""An explanation drawn as one picture."""

from collections.abc import Sequence
from math import ceil, isinf
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from enrich.analysis.explain import Explanation, PatchMap, ReadWord
from enrich.analysis.plots import plain_text
from enrich.records import Prediction, Status
from enrich.text import normalise

# The picture as a whole, the text as a whole, and the words that fit beside them.
COLUMNS, ROWS = 5, 3
MOST_WORDS = COLUMNS * ROWS - 2

_INK, _FAINT, _TRACK = "#1f2430", "#6f7683", "#e6e8ec"
_IMAGE, _TEXT, _FOR, _AGAINST = "#2a6f97", "#dd9a34", "#2c7a4b", "#b5403a"
# Below this a rounded change would read +0.00.
_NOTHING = 0.005
# Inches.
_WIDTH, _MARGIN, _HEAD, _FOOT = 14.0, 0.4, 1.15, 0.9
_LEFT, _ATTRIBUTE, _CELL, _TILE = 3.7, 1.0, (1.82, 2.3), 1.66
_RIGHT = _MARGIN + _LEFT + 0.5


class Sheet:
    """A white page of `width` by `height` inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self._figure = Figure(figsize=(width, height), dpi=130, facecolor="white")

    def place(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return a part of the page without frame; x and y run from 0 to 1, y downwards."""
        bottom = 1 - (top + height) / self.height
        size = (width / self.width, height / self.height)
        axes = self._figure.add_axes((left / self.width, bottom, *size))
        axes.set(xlim=(0, 1), ylim=(1, 0))
        axes.set_axis_off()
        return axes

    def save(self, file: Path) -> None:
        """Write the page as PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._figure.savefig(file, format="png")


def draw_box(
    axes: Axes, left: float, top: float, width: float, height: float, color: str, **given: Any
) -> None:
    """Draw a filled rectangle."""
    axes.add_patch(Rectangle((left, top), width, height, facecolor=color, **given))


def draw_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draw a square picture, (S, S, 3), with a thin frame."""
    axes.imshow(picture, extent=(0, 0.97, 0.97, 0), interpolation="antialiased")
    draw_box(axes, 0, 0, 0.97, 0.97, "none", edgecolor="#c9cdd4", linewidth=0.8)
    # imshow has moved them.
    axes.set(xlim=(0, 1), ylim=(1, 0))


@plain_text()
def draw(explanation: Explanation, file: Path) -> None:
    """Write the explanation as a PNG file."""
    predictions = explanation.answer.predictions
    left = _LEFT + _ATTRIBUTE * len(predictions)
    right = _CELL[1] * ceil((2 + len(explanation.words)) / COLUMNS)
    sheet = Sheet(_WIDTH, _HEAD + max(left, right) + _FOOT)
    _draw_head(sheet, explanation)
    _draw_product(sheet, explanation)
    for row, prediction in enumerate(predictions):
        threshold = explanation.thresholds[prediction.attribute]
        _draw_attribute(sheet, _HEAD + _LEFT + _ATTRIBUTE * row, prediction, threshold)
    if explanation.pixels is None:
        _draw_words_alone(sheet, explanation.words)
    else:
        _draw_maps(sheet, explanation, explanation.pixels)
    _draw_foot(sheet, explanation)
    sheet.save(file)


def _draw_head(sheet: Sheet, explanation: Explanation) -> None:
    product, answer = explanation.product, explanation.answer
    part = sheet.place(_MARGIN, 0, _WIDTH - 2 * _MARGIN, _HEAD)
    title = _shorten(product.title or "", 80) or "without a title"
    part.text(0, 0.42, title, fontsize=17, fontweight="bold", color=_INK, va="center")
    facts = [
        f"product {product.product_id}" if product.product_id else "",
        f"read: {answer.modalities}",
        str(answer.status).replace("_", " ") if answer.status is not Status.OK else "",
        answer.error or "",
        product.description or "",
    ]
    line = _shorten("  ·  ".join(filter(None, facts)), 170)
    part.text(0, 0.72, line, fontsize=9.5, color=_FAINT, va="center")


def _draw_product(sheet: Sheet, explanation: Explanation) -> None:
    part = sheet.place(_MARGIN, _HEAD, _LEFT, _LEFT)
    if explanation.pixels is not None:
        draw_picture(part, explanation.pixels.transpose(1, 2, 0))
        return
    draw_box(part, 0, 0, 0.97, 0.97, _TRACK)
    part.text(0.485, 0.485, "no picture", ha="center", va="center", color=_FAINT)


def _draw_attribute(sheet: Sheet, top: float, prediction: Prediction, threshold: float) -> None:
    part = sheet.place(_MARGIN, top, _LEFT, _ATTRIBUTE)
    name, label, color = prediction.attribute, _shorten(prediction.label, 24), _INK
    if prediction.abstained:
        name, label, color = f"{name}: abstains", f"({label})", _FAINT
    part.text(0, 0.14, name, fontsize=9, color=_FAINT, va="center")
    part.text(0, 0.36, label, fontsize=13, fontweight="bold", color=color, va="center")
    confidence = prediction.confidence
    part.text(1, 0.36, f"{confidence:.0%}", fontsize=13, color=color, va="center", ha="right")
    draw_box(part, 0, 0.5, 1, 0.1, _TRACK)
    draw_box(part, 0, 0.5, confidence, 0.1, color)
    if not isinf(threshold):
        part.plot([threshold] * 2, [0.47, 0.63], color=_AGAINST, linewidth=1.6)
    weight = prediction.image_weight
    if weight is None:
        part.text(0, 0.77, "modalities are not weighed", fontsize=8, color=_FAINT, va="center")
        return
    draw_box(part, 0, 0.7, 1, 0.1, _TEXT)
    draw_box(part, 0, 0.7, weight, 0.1, _IMAGE)
    part.text(0, 0.88, f"image {weight:.0%}", fontsize=8, color=_IMAGE, va="center")
    part.text(1, 0.88, f"text {1 - weight:.0%}", fontsize=8, color=_TEXT, va="center", ha="right")


def _draw_maps(sheet: Sheet, explanation: Explanation, pixels: np.ndarray) -> None:
    wholes = (
        ("picture as a whole", explanation.whole_image),
        ("text as a whole", explanation.whole_text),
    )
    shown = [(caption, heat, "", _FAINT) for caption, heat in wholes if heat is not None]
    for word in explanation.words:
        if word.patches is not None:
            shown.append((word.text, word.patches, *_describe(word)))
    gray = np.asarray(Image.fromarray(pixels.transpose(1, 2, 0)).convert("L"))
    # A picture without a text has one map, which then gets the room.
    side = _TILE if len(shown) > 1 else _LEFT
    for number, (caption, heat, effect, color) in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        left, top = _RIGHT + column * _CELL[0], _HEAD + row * _CELL[1]
        draw_picture(sheet.place(left, top, side, side), _heat_over(gray, heat))
        below = sheet.place(left, top + side, side, _CELL[1] - _TILE)
        weight = "bold" if effect else "normal"
        below.text(0, 0.2, _shorten(caption, 18), fontweight=weight, fontsize=10, va="center")
        below.text(0, 0.5, effect, fontsize=8.5, color=color, va="center")


def _draw_words_alone(sheet: Sheet, words: Sequence[ReadWord]) -> None:
    """Draw the effect of each word as a bar, for products without a picture."""
    largest = max((abs(word.effect[1]) for word in words), default=0) or 1
    for row, word in enumerate(words):
        part = sheet.place(_RIGHT, _HEAD + 0.45 * row, _WIDTH - _MARGIN - _RIGHT, 0.4)
        effect, color = _describe(word)
        length = 0.5 * abs(word.effect[1]) / largest
        part.text(0.2, 0.5, _shorten(word.text, 22), fontweight="bold", ha="right", va="center")
        draw_box(part, 0.22, 0.2, length, 0.6, color)
        part.text(0.24 + length, 0.5, effect, fontsize=9, color=color, va="center")


def _draw_foot(sheet: Sheet, explanation: Explanation) -> None:
    precision = f"{explanation.target_precision:.0%}"
    left = (
        "Left: the picture as the classifier sees it; for each attribute its confidence, the "
        f"confidence from which it is answered (red, {precision} precision) and its weights."
    )
    right = "Right: what each word adds to an answer's confidence."
    if explanation.whole_image is not None:
        grid = len(explanation.whole_image)
        right = (
            f"Right: which of {grid} x {grid} patches the picture's or the text's own token, or a "
            "word, looks at (attention rollout, mean over the heads);\n"
            "dark red is the most of its own map, so a map that is red all over looks everywhere "
            "alike. Below it, what the word adds to an answer's confidence."
        )
    part = sheet.place(_MARGIN, sheet.height - _FOOT, _WIDTH - 2 * _MARGIN, _FOOT)
    lines = "\n".join([left, right, explanation.model_version])
    part.text(0, 0.5, lines, fontsize=8, color=_FAINT, va="center", linespacing=1.5)


def _describe(word: ReadWord) -> tuple[str, str]:
    """Return the effect of a word as text, and the color of the text."""
    attribute, added = word.effect
    if abs(added) < _NOTHING:
        return "changes nothing", _FAINT
    sign, color = ("+", _FOR) if added > 0 else ("\N{MINUS SIGN}", _AGAINST)
    return f"{_shorten(attribute, 14)} {sign}{abs(added):.2f}", color


def _heat_over(gray: np.ndarray, patches: PatchMap) -> np.ndarray:
    """Return the gray picture under smoothed heat, (S, S, 3) in [0, 1]."""
    smooth = Image.fromarray(patches.astype(np.float32)).resize(
        gray.shape, Image.Resampling.BICUBIC
    )
    heat = np.asarray(smooth).clip(min=0)
    heat = heat / heat.max()
    opacity = 0.85 * heat[..., None]
    light = 0.35 + 0.65 * gray[..., None] / 255
    colored = colormaps["YlOrRd"](0.25 + 0.7 * heat)[..., :3]
    return np.clip(light * (1 - opacity) + colored * opacity, 0, 1)


def _shorten(text: str, characters: int) -> str:
    """Return the text on one line without control characters, cut with an ellipsis."""
    line = normalise(text)
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
