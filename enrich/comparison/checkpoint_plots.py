"""The plots of one checkpoint on one shop: confidence, abstention, confusions, modality weights."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes

from enrich.comparison.figure import (
    BLUE,
    COLORS,
    GREY,
    LIGHT,
    MARKERS,
    add_condition_legend,
    file_name,
    new_figure,
)
from enrich.plot_text import shorten
from enrich.training.answers import CalibratedAnswers
from enrich.training.conditions import Condition
from enrich.training.measures import BINS, expected_calibration_error, last_of_ties

ByCondition = Mapping[Condition, Mapping[str, CalibratedAnswers]]

_PANEL_IN = 3.4
# A share of fewer answers is chance: no line starts before so many, and no dot rests on less.
_FIRST_ANSWERS = 20
_ANSWERS_A_DOT = 10
# A figure of hundreds of labels takes gigabytes to draw, and nobody reads it.
_MOST_LABELS = 60
_LONGEST_NAME = 30


def draw_checkpoint(
    answered: ByCondition, labels: Mapping[str, tuple[str, ...]], title: str, folder: Path
) -> None:
    """Writes the plots as PNG into `folder`, in the place of those of an earlier comparison.

    Args:
        answered: Every condition's answers on every attribute that has labelled rows.
        labels: Each attribute's labels, in the order of the probabilities.
        title: Which checkpoint on which shop.
        folder: Made if it is not there.
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
    """Draws how often answers of a confidence are right, before and after calibration."""
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
    """Draws accuracy over confidence, a dot's area being its share of rows; returns the ECE.

    A dot has the next BINS-th of the rows, sorted by confidence: every row is in one.
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
    """Draws precision over recall, the share of products answered correctly; thresholds marked."""
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
    """Draws what the products of each label are answered as, in percent of that label.

    Of many labels the most frequent ones, and the title says so; one more column has the rest.
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
    """Draws how much of the answers comes from the picture, for each condition and attribute."""
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
