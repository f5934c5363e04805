"""The page that compares systems: sentences, tables and intervals from the runs that are there.

An interval is of groups and of seeds: groups of near-identical products are drawn with replacement,
and each draw gets the noise of a mean over so many seeds. How much seeds differ is pooled over the
systems that have several, and counts for those that have one. A difference of two systems is taken
on the same draws.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from enrich.analysis.bootstrap import draw_groups, interval
from enrich.analysis.compare import describe_machine, measure_speeds
from enrich.analysis.parameters import count_flops, count_parameters
from enrich.analysis.plots import draw_overview
from enrich.analysis.systems import (
    AS_TRAINED,
    HOME,
    LEFT_OUT,
    LEXICON,
    OWN_BIAS,
    SYSTEMS,
    WEIGHTED,
    Judged,
    Key,
    Setting,
    build,
    file_of,
    load_run,
)
from enrich.engine.device import local_device
from enrich.terminal import Table, escape, to_markdown
from enrich.training.batches import Condition
from enrich.training.measures import once, recall_at_precision

_DRAWS, _SPEED_BATCH = 1000, 64
ACCURACY, FOUND, KEPT = "accuracy", "found", "kept"
OWN_BIAS_ROW = "cma_clip, own bias"


class Column(NamedTuple):
    """A column of a table: products under one condition, and an attribute of them."""

    source: str
    condition: Condition
    attribute: str

    @property
    def heading(self) -> str:
        """The column's heading, without the attribute."""
        if self.condition is Condition.AS_IS:
            return self.source
        silent = self.condition is Condition.WORDS_MASKED
        return f"{self.source}, {'silent' if silent else 'text of another'}"


class Estimate(NamedTuple):
    """A figure with its draws."""

    value: float
    draws: Float[Tensor, " R"]

    def less(self, other: "Estimate") -> "Estimate":
        """Return the difference, on the same draws."""
        return Estimate(self.value - other.value, self.draws - other.draws)

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval."""
        return interval(self.draws)

    @property
    def is_told(self) -> bool:
        """Whether the interval leaves out zero."""
        low, high = self.bounds
        return low > 0 or high < 0


@dataclass(frozen=True, slots=True)
class Runs:
    """Judged answers of all runs by system, and what was fitted or timed."""

    answers: dict[str, list[dict[Key, Judged]]]
    facts: dict[str, list[dict[str, Any]]]

    @classmethod
    def load(cls, setting: Setting) -> "Runs":
        """Read the runs that are there; a system without one is left out."""
        answers: dict[str, list[dict[Key, Judged]]] = {}
        facts: dict[str, list[dict[str, Any]]] = {}
        for name, system in SYSTEMS.items():
            files = (file_of(setting, name, seed) for seed in range(system.seeds))
            for file in filter(Path.exists, files):
                judged, fact = load_run(file)
                answers.setdefault(name, []).append(judged)
                facts.setdefault(name, []).append(fact)
        return cls(answers, facts)

    def columns(self) -> list[Column]:
        """Return all columns that have answers, in the order of the sources."""
        some = next(iter(self.answers.values()))[0]
        found = dict.fromkeys(Column(s, Condition(c), a) for _, s, c, a in some)
        # Without a text there is one modality, which is `image_only`.
        return [column for column in found if column.condition is not Condition.NO_TEXT]


class Measures:
    """Figures of every row with intervals; a row is a system, or a variant of one."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._columns = runs.columns()
        self._draws: dict[str, tuple[np.ndarray, Float[Tensor, "R G"]]] = {}
        self._known: dict[tuple[str, str, Column, str], tuple[list[float], Tensor]] = {}
        self._spreads: dict[tuple[Column, str], float] = {}

    def estimate(
        self, row: str, column: Column, figure: str = ACCURACY, variant: str | None = None
    ) -> Estimate:
        """Return a figure of a row in a column.

        Args:
            row: a system, or `OWN_BIAS_ROW`.
            column: the products.
            figure: `ACCURACY`; `FOUND`, the share of all products that are answered right above
                the lowest threshold of 90 % precision on these very products; or `KEPT`, the share
                of right ones among the answers that are given at a target precision of 90 %.
            variant: with weights, where the system has them, unless another is given.
        """
        system = row.partition(",")[0]
        if variant is None:
            variant = OWN_BIAS if row == OWN_BIAS_ROW else WEIGHTED
        values, draws = self._measure(system, variant, column, figure)
        spread = 0.0 if system == LEXICON else self._spread(column, figure)
        # Variants of a system are of the same trainings, so they have the same noise.
        generator = torch.Generator().manual_seed(zlib.crc32(system.encode()))
        noise = torch.randn(len(draws), generator=generator)
        return Estimate(fmean(values), draws + noise * spread / len(values) ** 0.5)

    def _measure(
        self, system: str, variant: str, column: Column, figure: str
    ) -> tuple[list[float], Float[Tensor, " R"]]:
        """Return a figure of each seed, and the draws of their mean."""
        known = (system, variant, column, figure)
        if known not in self._known:
            judged = [_pick(run, variant, column) for run in self.runs.answers[system]]
            groups, draws = self._draw(column.source)
            weights = draws[:, np.searchsorted(groups, judged[0].group.numpy())]
            of = _FIGURES[figure]
            values = [of(one, once(len(one.right)).float()).item() for one in judged]
            mean = torch.stack([of(one, weights) for one in judged]).mean(0)
            self._known[known] = (values, mean)
        return self._known[known]

    def _draw(self, source: str) -> tuple[np.ndarray, Float[Tensor, "R G"]]:
        """Return the labelled groups of a source, and the draws that all rows share."""
        if source not in self._draws:
            some = next(iter(self.runs.answers.values()))[0]
            of_source = [one.group.numpy() for key, one in some.items() if key[1] == source]
            groups = np.unique(np.concatenate(of_source))
            self._draws[source] = groups, draw_groups(len(groups), _DRAWS)
        return self._draws[source]

    def _spread(self, column: Column, figure: str) -> float:
        """Return the pooled standard deviation of a figure over seeds."""
        if (column, figure) not in self._spreads:
            seeded = [name for name, runs in self.runs.answers.items() if len(runs) > 1]
            squares = [
                np.var(self._measure(name, WEIGHTED, column, figure)[0], ddof=1) for name in seeded
            ]
            self._spreads[column, figure] = float(np.mean(squares)) ** 0.5 if squares else 0.0
        return self._spreads[column, figure]

    def promise(self, row: str, column: Column) -> tuple[float, Estimate]:
        """Return what is given at a target precision of 90 %, and how much of that is right."""
        variant = OWN_BIAS if row == OWN_BIAS_ROW else WEIGHTED
        runs = (_pick(run, variant, column) for run in self.runs.answers[row.partition(",")[0]])
        given = fmean(one.given.float().mean().item() for one in runs)
        return given, self.estimate(row, column, KEPT)


def _pick(run: Mapping[Key, Judged], variant: str, column: Column) -> Judged:
    """Return the answers of a variant, or those as trained where there is no such variant."""
    where = (column.source, column.condition.value, column.attribute)
    own = run.get((variant, *where))
    return run[AS_TRAINED, *where] if own is None else own


def _right_of_all(judged: Judged, weights: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
    return weights @ judged.right.float() / weights.sum(1)


def _found_of_all(judged: Judged, weights: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
    return recall_at_precision(judged.confidence, judged.right, 0.90, weights)


def _right_of_given(judged: Judged, weights: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
    given = judged.given.float()
    return weights @ (given * judged.right) / (weights @ given)


_FIGURES = {ACCURACY: _right_of_all, FOUND: _found_of_all, KEPT: _right_of_given}


def write_page(setting: Setting, output: Path, command: str, date: str) -> None:
    """Write the page, and its figure into `images/` beside it.

    Args:
        setting: what the systems share.
        output: the Markdown file.
        command: what made the runs, for the page.
        date: of the page.
    """
    runs = Runs.load(setting)
    measures = Measures(runs)
    rows = list(runs.answers)
    if "cma_clip" in rows:
        rows.insert(rows.index("cma_clip") + 1, OWN_BIAS_ROW)
    by_attribute: dict[str, list[Column]] = {}
    for column in runs.columns():
        by_attribute.setdefault(column.attribute, []).append(column)
    # Sentences, differences and the figure are of the first attribute.
    first, *others = by_attribute
    columns = by_attribute[first]
    costs = measure_costs(setting, [name for name in runs.answers if name != LEXICON])
    figure = output.parent / "images" / f"{output.stem}.png"
    draw_overview(_records(measures, rows, columns), figure)
    tables = [
        _figures(f"Share of right {first}s", measures, rows, columns, ACCURACY),
        _differences(f"Right {first}s, less those of cma_clip", measures, rows, columns),
        _figures(f"{first.capitalize()}s found at 90 % precision", measures, rows, columns, FOUND),
        _promises(f"Right of the {first}s given at 90 %, and their share", measures, rows, columns),
        *(
            _figures(f"Share of right {other}s", measures, rows, by_attribute[other], ACCURACY)
            for other in others
        ),
        _weights(f"Right {first}s that the fitted weights add", measures, columns),
        _costs(runs, costs),
    ]
    page = [
        "# What the picture, the text and joint attention add\n",
        "[Back to the README](../README.md) · [sizes of the paper](parameters.md)\n",
        f"Written by `{command}` on {date}, {describe_machine(local_device())}: {_count(runs)}. "
        "Figures are of products that neither towers nor heads have seen, with 95 % intervals over "
        "groups of near-identical products and over seeds.\n",
        *_tell(measures, columns, costs),
        "## Systems\n",
        f"![Accuracy of every system]({figure.relative_to(output.parent).as_posix()})\n",
        *map(to_markdown, tables),
        *_explain(setting),
    ]
    output.write_text("\n".join(page))


def _count(runs: Runs) -> str:
    made = sum(map(len, runs.answers.values()))
    wanted = sum(system.seeds for system in SYSTEMS.values())
    if made == wanted:
        return f"{made} runs of {len(SYSTEMS)} systems"
    lacking = [
        f"{name} has {len(runs.answers.get(name, []))} of {system.seeds} seeds"
        for name, system in SYSTEMS.items()
        if len(runs.answers.get(name, [])) < system.seeds
    ]
    return f"{made} of {wanted} runs ({', '.join(lacking)})"


def _format(estimate: Estimate, *, signed: bool = False) -> str:
    low, high = estimate.bounds
    sign = "+" if signed else ""
    star = " *" if signed and estimate.is_told else ""
    return f"{estimate.value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f}){star}"


def _figures(
    title: str, measures: Measures, rows: Sequence[str], columns: Sequence[Column], figure: str
) -> Table:
    cells = [
        [row, *(_format(measures.estimate(row, column, figure)) for column in columns)]
        for row in rows
    ]
    return Table(title, ("system", *(column.heading for column in columns)), [cells])


def _promises(
    title: str, measures: Measures, rows: Sequence[str], columns: Sequence[Column]
) -> Table:
    cells = []
    for row in rows:
        kept = (measures.promise(row, column) for column in columns)
        shown = ("" if isnan(of.value) else f"{_format(of)} of {given:.2f}" for given, of in kept)
        cells.append([row, *shown])
    return Table(title, ("system", *(column.heading for column in columns)), [cells])


def _differences(
    title: str, measures: Measures, rows: Sequence[str], columns: Sequence[Column]
) -> Table:
    own = {column: measures.estimate("cma_clip", column) for column in columns}
    cells = [
        [
            row,
            *(
                _format(measures.estimate(row, column).less(own[column]), signed=True)
                for column in columns
            ),
        ]
        for row in rows
        if row != "cma_clip"
    ]
    return Table(title, ("system", *(column.heading for column in columns)), [cells])


def _weights(title: str, measures: Measures, columns: Sequence[Column]) -> Table:
    """Return what the weights between modalities add to each system that reads both."""
    cells = []
    for name, runs in measures.runs.answers.items():
        if any(key[0] == WEIGHTED for key in runs[0]):
            gains = (
                measures.estimate(name, column).less(
                    measures.estimate(name, column, variant=AS_TRAINED)
                )
                for column in columns
            )
            facts = measures.runs.facts[name]
            shifts = [fact["shifts"][columns[0].attribute] for fact in facts]
            cells.append([name, f"{fmean(shifts):+.2f}", *(_format(g, signed=True) for g in gains)])
    headings = ("system", "shift", *(column.heading for column in columns))
    return Table(title, headings, [cells])


def _records(
    measures: Measures, rows: Sequence[str], columns: Iterable[Column]
) -> list[dict[str, Any]]:
    return [
        {
            "checkpoint": row,
            "source": column.source,
            "condition": column.condition.value,
            "attribute": column.attribute,
            "accuracy": (found := measures.estimate(row, column)).value,
            "accuracy_interval": found.bounds,
        }
        for column in columns
        for row in rows
    ]


Cost = dict[str, int | float]


def measure_costs(setting: Setting, names: Sequence[str]) -> dict[str, Cost]:
    """Count parameters and operations, and time the forward pass of each system in turns."""
    batches, rows = setting.batches, setting.rows.test[:_SPEED_BATCH]
    batches.cached = batches.texts = None
    (inputs,) = batches.evaluation(rows, Condition.AS_IS, _SPEED_BATCH)
    workspace = setting.folder / "costs"
    built = [build(setting, name, 0, workspace)[0].eval() for name in names]
    speeds = measure_speeds([(one, inputs) for one in built], local_device())
    return {
        name: {
            "parameters": (counted := count_parameters(one))[0],
            "new": counted[0] - counted[1],
            "flops": count_flops(one),
            "products_per_second": speed,
        }
        for name, one, speed in zip(names, built, speeds, strict=True)
    }


def _costs(runs: Runs, costs: Mapping[str, Cost]) -> Table:
    rows = [
        [
            name,
            f"{cost['parameters'] / 1e6:.1f} M",
            f"{cost['new'] / 1e6:.1f} M",
            f"{cost['flops'] / 1e6:,.0f}",
            f"{cost['products_per_second']:,.0f}",
            f"{fmean(fact['training_seconds'] for fact in runs.facts[name]):,.0f}",
        ]
        for name, cost in costs.items()
    ]
    headings = ("system", "parameters", "trained here", "MFLOPs", "products/s", "training, s")
    return Table("Costs", headings, [rows])


def _tell(measures: Measures, columns: Sequence[Column], costs: Mapping[str, Cost]) -> list[str]:
    """Return what a reader needs first; every comparison with its interval."""
    runs = measures.runs
    if "cma_clip" not in runs.answers:
        return []
    told = ["## What a reader needs\n", f"Points are of 100 {columns[0].attribute}s.\n"]
    parts = (
        ("The picture adds", "text_only"),
        ("The text adds", "image_only"),
        ("Joint attention adds", "without-sequence-wise"),
        ("Attention over the modalities adds", "without-modality-wise"),
        ("Both attentions add", "without-both"),
        ("Over two embeddings side by side it adds", "clip_mlp"),
    )
    for subject, other in parts:
        if other in runs.answers:
            gains = [
                (
                    column,
                    measures.estimate("cma_clip", column).less(measures.estimate(other, column)),
                )
                for column in columns
            ]
            told.append(f"- **{subject}** (`cma_clip` less `{other}`): {_points(gains)}.")
    others = [
        name
        for name in runs.answers
        if name not in (LEXICON, "text_only", "image_only", "cma_clip", "clip_zero_shot")
        and not name.startswith("without")
    ]
    better = _list_told(measures, others, "cma_clip", columns, lambda one: one.value > 0)
    worse = _list_told(measures, others, "cma_clip", columns, lambda one: one.value < 0)
    told.append(f"- **Other ways to join both.** Better than `cma_clip`: {better}. Worse: {worse}.")
    if LEXICON in runs.answers:
        rest = [name for name in runs.answers if name != LEXICON]
        beaten = _list_told(measures, rest, LEXICON, columns, lambda one: one.value < 0)
        told.append(f"- **Words alone.** Worse than `lexicon`, which no network reads: {beaten}.")
    pairs = (("cma_clip", "clip_mlp"), ("cma_clip", "text_only"), ("cma_clip", "image_only"))
    speeds = ", ".join(
        f"{costs[one]['products_per_second'] / costs[other]['products_per_second']:.2f} of "
        f"`{other}`'s"
        for one, other in pairs
        if one in costs and other in costs
    )
    own = costs["cma_clip"]
    told.append(
        f"- **It costs** {own['products_per_second']:,.0f} products a second for the forward pass "
        f"({speeds}), {own['parameters'] / 1e6:.1f} M parameters and {own['flops'] / 1e6:,.0f} "
        "MFLOPs a product. Weights between modalities cost two more joins and no tower pass."
    )
    return [*told, ""]


def _points(gains: Sequence[tuple[Column, Estimate]]) -> str:
    """Return the differences in points, those first that an interval tells from 0."""
    parts = [", ".join(_point(*one) for one in gains if one[1].is_told)]
    if doubtful := [_point(*one) for one in gains if not one[1].is_told]:
        parts.append(f"not told from 0: {', '.join(doubtful)}")
    return "; ".join(filter(None, parts))


def _point(column: Column, gain: Estimate) -> str:
    low, high = (100 * bound for bound in gain.bounds)
    return f"{column.heading} {100 * gain.value:+.1f} ({low:+.1f} to {high:+.1f})"


def _list_told(
    measures: Measures,
    names: Sequence[str],
    other: str,
    columns: Sequence[Column],
    wanted: Callable[[Estimate], bool],
) -> str:
    """Return which systems differ from another one, column by column, with intervals."""
    parts = []
    for column in columns:
        own = measures.estimate(other, column)
        gains = {name: measures.estimate(name, column).less(own) for name in names}
        found = [
            f"`{name}` {100 * gain.value:+.1f} ({100 * gain.bounds[0]:+.1f} to "
            f"{100 * gain.bounds[1]:+.1f})"
            for name, gain in gains.items()
            if gain.is_told and wanted(gain)
        ]
        if found:
            parts.append(f"{column.heading}: {', '.join(found)}")
    return "; ".join(parts) or "none that an interval tells"


def _explain(setting: Setting) -> list[str]:
    """Return how the figures came about."""
    sources = ", ".join(f"{name} {len(one.rows):,}" for name, one in setting.sources.items())
    left_out = "; ".join(
        f"{escape(column)}: {escape(', '.join(values))}"
        for column, values in setting.config.leave_out.items()
    )
    rows = setting.rows
    several = [name for name, system in SYSTEMS.items() if system.seeds > 1]
    seeds = f"{SYSTEMS[several[0]].seeds} for {', '.join(several)}, one for the others."
    return [
        "## How it was measured\n",
        f"- **Frozen towers.** The image tower and the text tower were each trained alone on one "
        f"half of the groups to train on; joint layers and heads on the other half, "
        f"{len(rows.train):,} products, so nothing here learns from a picture or a text that a "
        "tower knows by heart. The towers' outputs are computed once (float16) and shared. Systems "
        "differ in what stands on the towers alone: all would gain from towers that are trained "
        "along, and which would gain most is not measured. `mmbt` and `single_stream` train the "
        'text layers too, because those are their joint layers: read them as "fusion as in" the '
        "paper, and `coca`, `embracenet` and `perceiver_io` likewise.",
        f"- **Products measured:** {sources}. `{HOME}` are held-back test groups. `{LEFT_OUT}` are "
        f"test groups of kinds of goods that neither towers nor heads were shown ({left_out}). All "
        "other sources are shops that nothing was trained or chosen on. `silent`: label words are "
        "taken out of the texts.",
        f"- **Weights between modalities.** Every system that reads both has one number an "
        f"attribute, fitted to {len(rows.validation):,} validation products: its scores are moved "
        "towards those that it gives to the picture alone or to the text alone. `"
        f"{OWN_BIAS_ROW}` has the bundled checkpoint's modality bias and disagreement penalty in "
        "their place. Then all are calibrated alike.",
        f"- **Seeds.** {seeds} Intervals of systems with one seed have the noise of one, as wide "
        "as those with several differ. One interval in twenty misses, and there are many here.",
        "- **`lexicon`** looks for label words in the title, else in the description, and gives "
        "the label that is most likely then; its two weights an attribute are fitted to the "
        "validation products, its confidence is calibrated as all others. It reads whole texts, "
        f"the others {setting.config.text_length} word pieces.",
        "- **`clip_zero_shot`** has towers that were taught labels, so it is not zero-shot: it "
        "shows what prompts are worth here.\n",
    ]
