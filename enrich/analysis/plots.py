"""Plots of a comparison.

The colors are those of Okabe and Ito, which all common kinds of color vision tell apart; markers
repeat what they say. No plot goes through pyplot, which would keep every figure in memory.
"""

import math
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from enrich.analysis.bootstrap import LEAST_GROUPS
from enrich.text import normalise
from enrich.training.answers import CalibratedAnswers
from enrich.training.batches import Condition
from enrich.training.measures import BINS, expected_calibration_error, last_of_ties

_COLUMNS = 4
_TITLE_WIDTH = 36  # characters of a panel's
_SPREAD = 0.7  # of a checkpoint's row, over its conditions

ByCondition = Mapping[Condition, Mapping[str, CalibratedAnswers]]

_PANEL_IN = 3.4
# A share of fewer answers is chance: no line starts before so many, and no dot rests on less.
_FIRST_ANSWERS = 20
_ANSWERS_A_DOT = 10
# A figure of hundreds of labels takes gigabytes to draw, and nobody reads it.
_MOST_LABELS = 60
_LONGEST_NAME = 30
# Stand in, where a machine has them, for the scripts that matplotlib's own font lacks.
_FONTS = ("Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")


BLUE, GREY, LIGHT = "#0072B2", "#666666", "#D9D9D9"
COLORS = {
    Condition.AS_IS: BLUE,
    Condition.NO_TEXT: "#D55E00",
    Condition.NO_IMAGE: "#009E73",
    Condition.WORDS_MASKED: "#CC79A7",
    Condition.OTHER_TEXT: "#E69F00",
}
MARKERS = dict(zip(Condition, "osD^v", strict=True))
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


# A title and a legend need some width.
_LEAST_IN, _LEGEND_IN = 6.2, 2.0


@contextmanager
def new_figure(file: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, sizes in inches, and write it as PNG afterwards."""
    with matplotlib.rc_context(_STYLE), plain_text():
        figure = Figure((max(width, _LEAST_IN), height), dpi=150, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        yield figure
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="png")


def add_condition_legend(figure: Figure, *, markers: bool) -> None:
    """Name the colors of the conditions below the plot."""
    handles = [
        Line2D([], [], color=COLORS[c], marker=MARKERS[c] if markers else "", label=c.value)
        for c in Condition
    ]
    columns = min(len(handles), int(figure.get_figwidth() / _LEGEND_IN))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns)


def file_name(name: str) -> str:
    """Return the name as a file or folder may be called on any system."""
    return re.sub(r'[\s/\\:*?"<>|,]+', "-", unicodedata.normalize("NFC", name))


def draw_overview(figures: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw accuracy with interval: a row a checkpoint, a panel a source and attribute."""
    subjects = list(dict.fromkeys((r["source"], r["attribute"]) for r in figures))
    checkpoints = list(dict.fromkeys(r["checkpoint"] for r in figures))
    columns = min(_COLUMNS, len(subjects))
    rows = math.ceil(len(subjects) / columns)
    height = 1.2 + rows * (0.7 + 0.5 * len(checkpoints))
    title = (
        "Accuracy of each checkpoint under every condition, with 95 % intervals\n"
        f"(none of fewer than {LEAST_GROUPS} groups; of no width where all are right, or none)"
    )
    with new_figure(file, title, 2 + 2.9 * columns, height) as figure:
        add_condition_legend(figure, markers=True)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
        for axes, (source, attribute) in zip(panels, subjects, strict=False):
            where = {"source": source, "attribute": attribute}
            _draw_panel(axes, [r for r in figures if where.items() <= r.items()], checkpoints)
            axes.set_title(textwrap.fill(f"{attribute}, {source}", _TITLE_WIDTH))
        for axes in panels[len(subjects) :]:
            axes.set_visible(False)
        panels[0].set_yticks(range(len(checkpoints)), checkpoints)
        panels[0].set_ylim(len(checkpoints) - 0.5, -0.5)


def _draw_panel(
    axes: Axes, figures: Sequence[Mapping[str, Any]], checkpoints: Sequence[str]
) -> None:
    offsets = dict(zip(Condition, np.linspace(-_SPREAD / 2, _SPREAD / 2, 5), strict=True))
    for record in figures:
        condition = Condition(record["condition"])
        at = checkpoints.index(record["checkpoint"]) + offsets[condition]
        color = COLORS[condition]
        axes.plot(record["accuracy_interval"], [at, at], color=color, lw=1.5)
        axes.plot(record["accuracy"], at, MARKERS[condition], color=color)
    for at in range(1, len(checkpoints), 2):
        axes.axhspan(at - 0.5, at + 0.5, color="#F5F5F5", zorder=0, lw=0)
    # Panels share their scale, and the one below may be hidden.
    axes.tick_params(labelbottom=True, length=0, axis="both")
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def draw_checkpoint(
    answered: ByCondition, labels: Mapping[str, tuple[str, ...]], title: str, folder: Path
) -> None:
    """Write the plots of a checkpoint into `folder`, replacing earlier PNG files.

    Args:
        answered: answers by condition and attribute, for attributes with labelled rows.
        labels: labels of each attribute, in the order of the probabilities.
        title: names of checkpoint and source.
        folder: created if missing.
    """
    as_is = answered[Condition.AS_IS]
    for earlier in folder.glob("*.png"):
        earlier.unlink()
    draw_reliability(as_is, title, folder / "reliability.png")
    draw_precision_recall(answered, title, folder / "precision-recall.png")
    for attribute, answers in as_is.items():
        file = folder / f"confusion-{file_name(attribute)}.png"
        subject = f"What each {attribute} is answered as, in % of its products\n{title}"
        draw_confusion(answers, labels[attribute], subject, file)
    if all(answers.of.image_weight is not None for answers in as_is.values()):
        draw_modality_weights(answered, title, folder / "modality-weights.png")


def draw_reliability(as_is: Mapping[str, CalibratedAnswers], title: str, file: Path) -> None:
    """Draw how often answers of a confidence are right, before and after calibration."""
    title = f"How often answers of some confidence are right, products as they are\n{title}"
    with new_figure(file, title, _PANEL_IN * len(as_is), 4.6) as figure:
        panels = figure.subplots(
            2, len(as_is), squeeze=False, sharex=True, sharey="row", height_ratios=[4, 1]
        )
        for (upper, lower), (attribute, answers) in zip(panels.T, as_is.items(), strict=True):
            upper.plot([0, 1], [0, 1], color=LIGHT, lw=1, zorder=0)
            raw_probs, targets = answers.of.logits.softmax(1), answers.of.targets
            raw = _draw_bins(upper, raw_probs, targets, GREY, "before calibration")
            now = _draw_bins(upper, answers.probs, targets, BLUE, "after calibration")
            upper.set_title(f"{attribute}: ECE {raw:.3f}, calibrated {now:.3f}")
            upper.set(xlim=(0, 1.02), ylim=(0, 1.02))
            confidence = answers.probs.amax(1).numpy()
            weights = np.full(len(confidence), 1 / len(confidence))
            lower.hist(confidence, BINS, range=(0, 1), weights=weights, color=BLUE, rwidth=0.9)
            lower.set(xlabel="confidence")
        panels[0, 0].set_ylabel("share that is right")
        panels[0, 0].legend(loc="upper left")
        panels[1, 0].set_ylabel("share of\nproducts")


def _draw_bins(
    axes: Axes, probs: torch.Tensor, targets: torch.Tensor, color: str, label: str
) -> float:
    """Draw accuracy over confidence, and return the ECE.

    Rows are sorted by confidence and cut into BINS dots. The area of a dot is its share of rows.
    """
    confidence, best = probs.max(1)
    is_right = best == targets
    dots = min(BINS, max(1, len(targets) // _ANSWERS_A_DOT))
    # By how many are below it: rows of equal confidence are in one dot.
    rank = torch.searchsorted(confidence.sort().values, confidence)
    _, which, rows = (rank * dots // len(rank)).unique(return_inverse=True, return_counts=True)
    mean_confidence, accuracy = (
        torch.zeros(len(rows)).index_add_(0, which, values.float()) / rows
        for values in (confidence, is_right)
    )
    area = 8 + 250 * rows / rows.sum()
    axes.plot(mean_confidence, accuracy, color=color, lw=1, alpha=0.6)
    axes.scatter(mean_confidence, accuracy, area, color=color, label=label, lw=0, clip_on=False)
    return expected_calibration_error(confidence, is_right)


def draw_precision_recall(answered: ByCondition, title: str, file: Path) -> None:
    """Draw precision over recall of the surest answers, with thresholds."""
    attributes = list(answered[Condition.AS_IS])
    title = (
        "Precision and recall of the surest answers (thresholds for 90 %: ○, for 95 %: □)\n"
        f"{title}; where lines are one, the first of the conditions is seen"
    )
    with new_figure(file, title, _PANEL_IN * len(attributes), 3.8) as figure:
        panels = figure.subplots(1, len(attributes), squeeze=False, sharey=True)[0]
        for axes, attribute in zip(panels, attributes, strict=True):
            for wanted in answered[Condition.AS_IS][attribute].thresholds:
                axes.axhline(wanted, color=LIGHT, lw=1, zorder=0)
            # The last one drawn lies on top: products as they are.
            for condition, by_attribute in reversed([*answered.items()]):
                _draw_precision_recall(axes, by_attribute[attribute], COLORS[condition])
            axes.set(title=attribute, xlabel="recall: correct, of all products", xlim=(0, 1.02))
        panels[0].set_ylabel("precision")
        panels[0].set_ylim(top=1.01)
        add_condition_legend(figure, markers=False)


def _draw_precision_recall(axes: Axes, answers: CalibratedAnswers, color: str) -> None:
    confidence, best = answers.probs.max(1)
    is_right = best == answers.of.targets
    falling, order = confidence.sort(descending=True)
    hits, answered = is_right[order].cumsum(0), torch.arange(1, len(order) + 1)
    drawn = last_of_ties(falling) & (answered >= min(_FIRST_ANSWERS, len(order)))
    recall, precision = (hits / len(order))[drawn], (hits / answered)[drawn]
    # A line of one point is seen by its marker alone.
    single = "." if len(recall) == 1 else None
    axes.plot(recall, precision, marker=single, color=color, lw=1.3)
    for marker, threshold in zip("os", answers.thresholds.values(), strict=True):
        above = confidence >= threshold
        if above.any():
            axes.plot(
                (above & is_right).float().mean(),
                is_right[above].float().mean(),
                marker,
                markersize=6,
                markerfacecolor="white",
                markeredgecolor=color,
                markeredgewidth=1.5,
            )


def draw_confusion(
    answers: CalibratedAnswers, labels: tuple[str, ...], title: str, file: Path
) -> None:
    """Draw how the products of each label are answered, in percent of that label.

    At most 60 labels are drawn, the most frequent; one more column has the rest.
    """
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (answers.of.targets.numpy(), answers.probs.argmax(1).numpy()), 1)
    totals = counts.sum(1)
    seen = np.flatnonzero(counts.sum(0) + totals)
    shown = np.sort(seen[np.argsort(-totals[seen], kind="stable")[:_MOST_LABELS]])
    if len(shown) < len(seen):
        title = f"{title}\nthe {len(shown)} most frequent of {len(seen)} labels"
    names = [shorten(labels[at], _LONGEST_NAME) for at in shown]
    cells = counts[np.ix_(shown, shown)]
    answered = names
    if len(shown) < len(seen):
        cells = np.column_stack([cells, totals[shown] - cells.sum(1)])
        answered = [*names, "other labels"]
    shares = 100 * cells / totals[shown, None].clip(1)
    side = 2.2 + 0.36 * len(answered)
    with new_figure(file, title, side, side) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.argwhere(shares >= 0.5):
            share = shares[row, column]
            ink = "white" if share > 55 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=ink, size=8)
        places = range(len(answered))
        axes.set_xticks(places, answered, rotation=45, ha="right", rotation_mode="anchor")
        rows = [f"{name} ({totals[at]:,})" for name, at in zip(names, shown, strict=True)]
        axes.set_yticks(range(len(rows)), rows)
        axes.set(xlabel="answered", ylabel="label (products)")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)


def draw_modality_weights(answered: ByCondition, title: str, file: Path) -> None:
    """Draw the weight of the picture by condition and attribute."""
    attributes = list(answered[Condition.AS_IS])
    title = f"Weight of the picture: mean, middle half and middle 90 % of products\n{title}"
    with new_figure(file, title, 1.2 + _PANEL_IN * len(attributes), 2.9) as figure:
        panels = figure.subplots(1, len(attributes), squeeze=False, sharex=True, sharey=True)[0]
        for axes, attribute in zip(panels, attributes, strict=True):
            for at, (condition, by_attribute) in enumerate(answered.items()):
                weight = by_attribute[attribute].of.image_weight
                assert weight is not None
                spread = np.quantile(weight.numpy(), (0.05, 0.25, 0.75, 0.95))
                color = COLORS[condition]
                axes.plot(spread[[0, 3]], [at, at], color=color, lw=1)
                axes.plot(spread[[1, 2]], [at, at], color=color, lw=5, alpha=0.45)
                axes.plot(weight.mean(), at, MARKERS[condition], color=color, markersize=6)
            axes.set(title=attribute, xlim=(-0.04, 1.04), xlabel="text only → picture only")
            axes.grid(axis="x")
        panels[0].set_yticks(range(len(answered)), [condition.value for condition in answered])
        panels[0].invert_yaxis()


@contextmanager
def plain_text() -> Iterator[None]:
    """Draws text as it stands, with matplotlib's own font and those that this machine has."""
    available = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(font for font in _FONTS if font in available)]
    # A "$" in a label, a title or a folder's name would start a formula otherwise.
    style: dict[Any, Any] = {"font.family": fonts, "text.parse_math": False}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A letter that no font has is drawn as a box, which says so by itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def shorten(text: str, characters: int) -> str:
    """Returns the text on one line without control characters, cut with an ellipsis."""
    line = normalise(text)
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
