"""An explanation drawn as one picture, and the style of all figures.

No figure goes through pyplot, which would keep every one in memory.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, isinf
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps, font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from enrich.analysis.explain import Explanation, PatchMap, ReadWord
from enrich.records import Prediction
from enrich.text import normalise

# Stand in, where a machine has them, for the scripts that matplotlib's own font lacks.
_FONTS = ("Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")

BLUE, GREY, LIGHT = "#0072B2", "#666666", "#D9D9D9"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "lines.markersize": 5,
}


LEAST_WIDTH = 6.2  # inches, for a title and a legend


@contextmanager
def new_figure(file: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, sizes in inches, and write it as PNG afterwards.

    Text is drawn unchanged, in matplotlib's own font and fonts of this machine.
    """
    available = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(font for font in _FONTS if font in available)]
    # A "$" in a label, a title or a folder's name would start a formula otherwise.
    plain: dict[Any, Any] = {"font.family": fonts, "text.parse_math": False}
    with matplotlib.rc_context(_STYLE | plain), warnings.catch_warnings():
        # A letter that no font has is drawn as a box, which says so by itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure((max(width, LEAST_WIDTH), height), dpi=150, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        yield figure
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="png")


# The picture as a whole, the text as a whole, and the words that fit beside them.
COLUMNS, ROWS = 5, 3
MOST_WORDS = COLUMNS * ROWS - 2

_FOR, _AGAINST = "#2c7a4b", "#b5403a"
# Below this a rounded change would read +0.00.
_NOTHING = 0.005
_WIDTH, _HEIGHT = 14.0, 7.8  # inches


def draw(explanation: Explanation, file: Path) -> None:
    """Write the explanation as a PNG file."""
    product, answer = explanation.product, explanation.answer
    facts = (product.title or "without a title", f"read: {answer.modalities}", answer.error or "")
    title = "  ·  ".join(_shorten(fact, 80) for fact in facts if fact)
    with new_figure(file, title, _WIDTH, _HEIGHT) as figure:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 2.6))[0]
        picture, answers = left.subplots(2, 1, height_ratios=(3, 2))
        picture.set_axis_off()
        if explanation.pixels is None:
            picture.text(0.5, 0.5, "no picture", ha="center", va="center", color=GREY)
        else:
            picture.imshow(explanation.pixels.transpose(1, 2, 0))
        _draw_answers(answers, answer.predictions, explanation.thresholds)
        if explanation.pixels is None:
            _draw_words_alone(right.subplots(), explanation.words)
        else:
            maps = [*_list_maps(explanation)]
            parts = right.subplots(ceil(len(maps) / COLUMNS), COLUMNS, squeeze=False).flatten()
            gray = np.asarray(Image.fromarray(explanation.pixels.transpose(1, 2, 0)).convert("L"))
            for part in parts:
                part.set_axis_off()
            for part, (caption, heat, color) in zip(parts, maps, strict=False):
                part.imshow(_heat_over(gray, heat))
                part.set_title(caption, color=color, fontsize=9)
        figure.supxlabel(_describe_figure(explanation), fontsize=8, color=GREY)


def _draw_answers(
    axes: Axes, predictions: Sequence[Prediction], thresholds: dict[str, float]
) -> None:
    """Draw each answer's confidence as a bar, with its threshold and its weights."""
    axes.set(xlim=(0, 1), ylim=(len(predictions) - 0.5, -0.5))
    axes.set_yticks([])
    for row, one in enumerate(predictions):
        axes.barh(row, one.confidence, 0.3, color=LIGHT if one.abstained else BLUE)
        threshold = thresholds[one.attribute]
        if not isinf(threshold):
            axes.plot([threshold] * 2, [row - 0.2, row + 0.2], color=_AGAINST)
        label = f"({one.label})" if one.abstained else one.label
        said = f"{_shorten(one.attribute, 20)}: {_shorten(label, 24)}, {one.confidence:.0%}"
        if one.image_weight is not None:
            said += f" (image {one.image_weight:.0%}, text {1 - one.image_weight:.0%})"
        axes.text(0, row - 0.2, said, va="bottom")


def _list_maps(explanation: Explanation) -> list[tuple[str, PatchMap, str]]:
    """Return caption, patches and color of each map."""
    wholes = (
        ("picture as a whole", explanation.whole_image),
        ("text as a whole", explanation.whole_text),
    )
    maps = [(caption, heat, GREY) for caption, heat in wholes if heat is not None]
    for word in explanation.words:
        if word.patches is not None:
            effect, color = _describe(word)
            maps.append((f"{_shorten(word.text, 18)}\n{effect}", word.patches, color))
    return maps


def _draw_words_alone(axes: Axes, words: Sequence[ReadWord]) -> None:
    """Draw the effect of each word as a bar, for products without a picture."""
    axes.set_ylim(max(1, len(words)) - 0.5, -0.5)
    axes.set_yticks(range(len(words)), [_shorten(word.text, 22) for word in words])
    for row, word in enumerate(words):
        effect, color = _describe(word)
        axes.barh(row, abs(word.effect[1]), color=color)
        axes.text(abs(word.effect[1]), row, f" {effect}", color=color, va="center")


def _describe_figure(explanation: Explanation) -> str:
    left = (
        "Left: the picture as the classifier sees it; for each attribute its confidence, the "
        f"confidence from which it is answered (red, {explanation.target_precision:.0%} precision) "
        "and its weights."
    )
    right = "Right: what each word adds to an answer's confidence."
    if explanation.whole_image is not None:
        grid = len(explanation.whole_image)
        right = (
            f"Right: which of {grid} x {grid} patches the picture's or the text's own token, or a "
            "word, looks at (attention rollout, mean over the heads);\n"
            "dark red is the most of its own map, so a map that is red all over looks everywhere "
            "alike. Above it, what the word adds to an answer's confidence."
        )
    return "\n".join([left, right, explanation.model_version])


def _describe(word: ReadWord) -> tuple[str, str]:
    """Return the effect of a word as text, and the color of the text."""
    attribute, added = word.effect
    if abs(added) < _NOTHING:
        return "changes nothing", GREY
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
