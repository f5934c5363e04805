"""The page that compares systems: what a reader needs first, then all tables.

Sentences are made from the figures: a difference is named with its interval, and one whose interval
holds zero is said to be not significant.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from enrich.analysis.bootstrap import (
    AS_TRAINED,
    OWN_BIAS,
    WEIGHTED,
    Column,
    Estimate,
    Measures,
    Run,
)
from enrich.analysis.report import Cost, Row, count_costs, divide_columns, tabulate, to_cell
from enrich.analysis.systems import (
    HOME,
    LEFT_OUT,
    LEXICON,
    SYSTEMS,
    Setting,
    build,
    file_of,
    load_run,
)
from enrich.terminal import Table, escape, to_markdown
from enrich.training.batches import Condition

_DRAWS = 1000
_PAPER, _OWN_BIAS_TITLE = "cma_clip", "cma_clip, own bias"
# What `cma_clip` is compared with first, and what the difference is.
_ADDED = {
    "text_only": "The picture adds",
    "image_only": "The text adds",
    "without-sequence-wise": "Joint attention adds",
    "without-modality-wise": "Attention over the modalities adds",
    "without-both": "Both attentions add",
    "clip_mlp": "Over both embeddings side by side it adds",
}


def write_page(setting: Setting, output: Path, command: str, date: str) -> None:
    """Write the page, of the runs that are there.

    `command` says on the page what made the runs.
    """
    runs: dict[str, list[Run]] = {}
    facts: dict[str, list[dict[str, Any]]] = {}
    for name, system in SYSTEMS.items():
        files = (file_of(setting, name, seed) for seed in range(system.seeds))
        for file in filter(Path.exists, files):
            scored, fact = load_run(file)
            runs.setdefault(name, []).append(scored)
            facts.setdefault(name, []).append(fact)
    measures = Measures(runs, [LEXICON], _DRAWS)
    # Without a text there is one modality, as in `image_only`.
    found = divide_columns(measures, [Condition.NO_TEXT])
    # Files keep their answers in the order of the alphabet.
    sources, conditions = [*setting.sources], [*Condition]
    by_attribute = {
        attribute: sorted(
            found[attribute],
            key=lambda one: (sources.index(one.source), conditions.index(one.condition)),
        )
        for attribute in setting.config.attributes
        if attribute in found
    }
    rows = [Row(name, name) for name in runs]
    if _PAPER in runs:
        paper = rows.index(Row(_PAPER, _PAPER))
        rows.insert(paper + 1, Row(_OWN_BIAS_TITLE, _PAPER, OWN_BIAS))
        # Differences are to the paper's system.
        rows = [rows[paper], *rows[:paper], *rows[paper + 1 :]]
    first, columns = next(iter(by_attribute.items()))
    built = (name for name in runs if name != LEXICON)
    costs = count_costs({one: build(setting, one, 0, setting.folder / "costs")[0] for one in built})
    page = [
        "# What the picture, the text and joint attention add\n",
        "[Back to the README](../README.md) · [sizes of the paper](parameters.md)\n",
        f"Written by `{command}` on {date}: {_count(runs)}. Figures are of products that neither "
        "towers nor heads have seen, with 95 % intervals over groups of near-identical products "
        "and over seeds.\n",
        *_tell(measures, columns, costs),
        "## Systems\n",
        *map(to_markdown, tabulate(measures, rows, by_attribute, costs)),
        to_markdown(
            _tabulate_weights(f"{first}: what fitted weights add", measures, columns, facts)
        ),
        *_explain(setting, facts),
    ]
    output.write_text("\n".join(page))


def _count(runs: Mapping[str, Sequence[Run]]) -> str:
    counts = {name: len(runs.get(name, ())) for name in SYSTEMS}
    made, wanted = sum(counts.values()), sum(system.seeds for system in SYSTEMS.values())
    if made == wanted:
        return f"{made} runs of {len(SYSTEMS)} systems"
    lacking = [
        f"{name} has {counts[name]} of {system.seeds}"
        for name, system in SYSTEMS.items()
        if counts[name] < system.seeds
    ]
    return f"**{made} of {wanted} runs** ({', '.join(lacking)})"


def _tabulate_weights(
    title: str,
    measures: Measures,
    columns: Sequence[Column],
    facts: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Table:
    """Return what the weights between modalities add to each system that reads both."""
    attribute, cells = columns[0].attribute, []
    for name, runs in measures.runs.items():
        if any(key[0] == WEIGHTED for key in runs[0]):
            shift = fmean(fact["shifts"][attribute] for fact in facts[name])
            gains = (
                measures.estimate(name, column).less(
                    measures.estimate(name, column, variant=AS_TRAINED)
                )
                for column in columns
            )
            cells.append([name, f"{shift:+.2f}", *(to_cell(gain, signed=True) for gain in gains)])
    return Table(title, ("", "shift", *(column.heading for column in columns)), [cells])


def _tell(measures: Measures, columns: Sequence[Column], costs: Mapping[str, Cost]) -> list[str]:
    """Return what a reader needs first; every comparison with its interval."""
    runs = measures.runs
    if _PAPER not in runs:
        return []
    lines = [
        "## What a reader needs\n",
        f"A point is one right {columns[0].attribute} more in a hundred.\n",
    ]
    own = {column: measures.estimate(_PAPER, column) for column in columns}
    for other, subject in _ADDED.items():
        if other in runs:
            gains = [(c, own[c].less(measures.estimate(other, c))) for c in columns]
            lines.append(f"- **{subject}** (`{_PAPER}` less `{other}`): {_points(gains)}.")
    others = [
        name
        for name in runs
        if name not in (LEXICON, "text_only", "image_only", "cma_clip", "clip_zero_shot")
        and not name.startswith("without")
    ]
    better = _list_told(measures, others, "cma_clip", columns, lambda one: one.value > 0)
    worse = _list_told(measures, others, "cma_clip", columns, lambda one: one.value < 0)
    lines.append(
        f"- **Other ways to join both.** Better than `cma_clip`: {better}. Worse: {worse}."
    )
    if LEXICON in runs:
        rest = [name for name in runs if name != LEXICON]
        beaten = _list_told(measures, rest, LEXICON, columns, lambda one: one.value < 0)
        lines.append(f"- **Words alone.** Worse than `lexicon`, which no network reads: {beaten}.")
    cost = costs[_PAPER]
    shown = (other for other in ("clip_mlp", "text_only", "image_only") if other in costs)
    ratios = ", ".join(f"{cost.flops / costs[other].flops:.2f} of `{other}`'s" for other in shown)
    lines.append(
        f"- **It costs** {cost.parameters / 1e6:.1f} M parameters and {cost.flops / 1e6:,.0f} "
        f"MFLOPs a product ({ratios}). Weights between modalities cost two more joins, and no "
        "tower pass."
    )
    return [*lines, ""]


def _points(gains: Sequence[tuple[Column, Estimate]]) -> str:
    """Return the differences in points, those first that an interval tells from 0."""
    parts = [", ".join(_point(*one) for one in gains if one[1].is_significant)]
    if doubtful := [_point(*one) for one in gains if not one[1].is_significant]:
        parts.append(f"not significant: {', '.join(doubtful)}")
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
            if gain.is_significant and wanted(gain)
        ]
        if found:
            parts.append(f"{column.heading}: {', '.join(found)}")
    return "; ".join(parts) or "none that an interval tells"


def _explain(setting: Setting, facts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return how the figures came about."""
    sources = ", ".join(f"{name} {len(one.rows):,}" for name, one in setting.sources.items())
    left_out = "; ".join(
        f"{escape(column)}: {escape(', '.join(values))}"
        for column, values in setting.config.leave_out.items()
    )
    rows = setting.rows
    several = [name for name, made in facts.items() if len(made) > 1]
    seeds = (
        f"{', '.join(several)} have several, all others one."
        if several
        else "All systems have one so far, so intervals are over groups alone."
    )
    return [
        "## How it was measured\n",
        _explain_towers(setting),
        f"- **Products measured:** {sources}. `{HOME}` are held-back test groups. `{LEFT_OUT}` are "
        f"test groups of kinds of goods that neither towers nor heads were shown ({left_out}). All "
        "other sources are shops that nothing was trained or chosen on. `silent`: label words are "
        "taken out of the texts.",
        f"- **Weights between modalities.** Every system that reads both has one number an "
        f"attribute, fitted to {len(rows.validation):,} validation products: its scores are moved "
        "towards those that it gives to the picture alone or to the text alone. `"
        f"{_OWN_BIAS_TITLE}` has the modality bias and the disagreement penalty of the bundled "
        "checkpoint in their place. Then all are calibrated alike, with thresholds that hold "
        "where one text in ten is another product's: answers from texts alone are rarely proved "
        "then, and an empty cell gives nothing.",
        f"- **Seeds.** {seeds} Intervals of a system with one seed have the noise of one, as wide "
        "as the seeds of others differ. One interval in twenty misses, and there are many here.",
        "- **`lexicon`** looks for label words in the title, else in the description, and gives "
        "the label that is most likely then; its two weights an attribute are fitted to the "
        "validation products, its confidence is calibrated as all others. It reads whole texts, "
        f"the others {setting.config.text_length} word pieces. The bundled words were written with "
        "abo at hand, which flatters them there.",
        "- **`clip_zero_shot`** has towers that were taught labels, so it is not zero-shot: it "
        "shows what prompts are worth here.\n",
    ]


def _explain_towers(setting: Setting) -> str:
    rows = f"{len(setting.rows.train):,} products"
    if any(max(phase.image_rate, phase.text_rate) > 0 for phase in setting.config.phases):
        return f"- **Towers** are trained along, each system's own, on {rows}."
    half = "the other half" if setting.config.half is not None else "all of them"
    return (
        "- **Frozen towers.** The image tower and the text tower were each trained alone on one "
        f"half of the groups to train on; joint layers and heads on {half}, {rows}. So nothing "
        "here learns from a picture or a text that a tower knows by heart. What the towers make of "
        "pictures and texts is computed once and shared, so systems differ in what stands on the "
        "towers alone. All would gain from towers that are trained along, and which would gain "
        "most is not measured. `mmbt` and `single_stream` train the text layers too, because those "
        'are their joint layers. Read them as "fusion as in" the paper, and `coca`, `embracenet` '
        "and `perceiver_io` likewise."
    )
