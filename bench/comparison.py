"""Train every system alike on frozen towers, and compare them.

    python -m bench.comparison --catalog shop/ --unseen-source other/ --output page.md \
        --set image_tower=tower --set text_tower=texts

Runs that are in `--folder` are not repeated, so a killed command resumes.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import torch
import typer

from bench.parameters import count_flops, count_parameters
from bench.systems import (
    HOME,
    LEFT_OUT,
    LEXICON,
    SYSTEMS,
    Setting,
    build,
    file_of,
    load_run,
    make_run,
    open_setting,
)
from enrich.analysis.bootstrap import ACCURACY, Column, Estimate, Measures, Run
from enrich.analysis.compare import divide_columns, tabulate
from enrich.classifiers.interface import Classifier
from enrich.cli import SetOption, run_command
from enrich.errors import ConfigError
from enrich.places import prepare_target
from enrich.settings_files import load_yaml, parse_settings
from enrich.terminal import Table, escape, to_markdown
from enrich.training.batches import Condition
from enrich.training.config import TrainingConfig

_RECIPE = Path(__file__).with_name("training_comparison.yaml")
_DRAWS = 1000
# Differences are to the paper's system.
_PAPER = "cma_clip"


class SeededMeasures(Measures):
    """Figures of systems with intervals over groups and seeds, from one run or more of each.

    Each draw gets the noise of a mean over so many seeds. How much seeds differ is pooled over the
    systems that have several, and counts for those that have one. `fixed` are systems without a
    seed.
    """

    def __init__(self, runs: Mapping[str, Sequence[Run]], fixed: Sequence[str], draws: int) -> None:
        self._seeds: dict[str, list[str]] = {name: [] for name in runs}
        of_seeds = {}
        for name, own in runs.items():
            for seed, run in enumerate(own):
                self._seeds[name].append(named := f"{name}, seed {seed}")
                of_seeds[named] = run
        super().__init__(of_seeds, draws)
        self._fixed = fixed
        self._spreads: dict[tuple[Column, str], float] = {}

    def estimate(self, name: str, column: Column, figure: str = ACCURACY) -> Estimate:
        """Return a figure of a system in a column; see `Measures.estimate`."""
        ask = super().estimate
        each = [ask(one, column, figure) for one in self._seeds[name]]
        spread = 0.0 if name in self._fixed else self._spread(column, figure)
        draws = torch.stack([one.draws for one in each]).mean(0)
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(len(draws), generator=generator)
        value = fmean(one.value for one in each)
        return Estimate(value, draws + noise * spread / len(each) ** 0.5)

    def given(self, name: str, column: Column) -> float:
        """Return the share that is given at a target precision of 90 %."""
        ask = super().given
        return fmean(ask(one, column) for one in self._seeds[name])

    def _spread(self, column: Column, figure: str) -> float:
        """Return the pooled standard deviation of a figure over seeds."""
        if (column, figure) not in self._spreads:
            several = [seeds for seeds in self._seeds.values() if len(seeds) > 1]
            ask = super().estimate
            found = [[ask(one, column, figure).value for one in seeds] for seeds in several]
            squares = [np.var(values, ddof=1) for values in found]
            # A system without answers has no precision, and shows nothing about seeds.
            known = [one for one in squares if not math.isnan(one)]
            self._spreads[column, figure] = float(np.mean(known)) ** 0.5 if known else 0.0
        return self._spreads[column, figure]


def write_page(setting: Setting, output: Path, command: str, date: str) -> None:
    """Write the page, of the runs that are there.

    `command` says on the page what made the runs.
    """
    runs: dict[str, list[Run]] = {}
    for name, system in SYSTEMS.items():
        files = (file_of(setting, name, seed) for seed in range(system.seeds))
        for file in filter(Path.exists, files):
            runs.setdefault(name, []).append(load_run(file))
    measures = SeededMeasures(runs, [LEXICON], _DRAWS)
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
    rows = sorted(runs, key=lambda name: name != _PAPER)
    built = (name for name in runs if name != LEXICON)
    costs = count_costs({one: build(setting, one, 0, setting.folder / "costs")[0] for one in built})
    page = [
        "# Comparison of systems\n",
        f"Written by `{command}` on {date}: {_count(runs)}. Figures are of products that neither "
        "towers nor heads have seen, with 95 % intervals over groups of near-identical products "
        "and over seeds.\n",
        *map(to_markdown, [*tabulate(measures, rows, by_attribute), _tabulate_costs(costs)]),
        *_explain(setting, runs),
    ]
    output.write_text("\n".join(page))


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of a classifier: parameters, those trained here, and operations a product."""

    parameters: int
    trained: int
    flops: int


def count_costs(classifiers: Mapping[str, Classifier]) -> dict[str, Cost]:
    """Count what each classifier is made of, in floating point.

    Layers in int8 have no parameters.
    """
    costs = {}
    for name, classifier in classifiers.items():
        total, pretrained = count_parameters(classifier)
        costs[name] = Cost(total, total - pretrained, count_flops(classifier))
    return costs


def _tabulate_costs(costs: Mapping[str, Cost]) -> Table:
    rows = [
        [
            name,
            f"{cost.parameters / 1e6:.1f} M",
            f"{cost.trained / 1e6:.1f} M",
            f"{cost.flops / 1e6:,.0f}",
        ]
        for name, cost in costs.items()
    ]
    return Table("Costs", ("", "parameters", "not pre-trained", "MFLOPs"), [rows])


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


def _explain(setting: Setting, runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return how the figures came about."""
    sources = ", ".join(f"{name} {len(one.rows):,}" for name, one in setting.sources.items())
    left_out = "; ".join(
        f"{escape(column)}: {escape(', '.join(values))}"
        for column, values in setting.config.leave_out.items()
    )
    rows = setting.rows
    several = ", ".join(name for name, made in runs.items() if len(made) > 1)
    return [
        "## How it was measured\n",
        _explain_towers(setting),
        f"- **Products measured:** {sources}. `{HOME}` are held-back test groups. `{LEFT_OUT}` are "
        f"test groups of kinds of goods that neither towers nor heads were shown ({left_out}). All "
        "other sources are shops that nothing was trained or chosen on. `silent`: label words are "
        "taken out of the texts.",
        f"- **Weights between modalities.** Every system that reads both has one number an "
        f"attribute, fitted to {len(rows.validation):,} validation products: its scores are moved "
        "towards those that it gives to the picture alone or to the text alone. Then all are "
        "calibrated alike, with thresholds that hold where one text in ten is another product's: "
        "answers from texts alone are rarely proved then, and an empty cell gives nothing.",
        f"- **Seeds.** Systems with several: {several or 'none'}. Intervals of a system with one "
        "seed have the noise of one, as wide as the seeds of others differ. One interval in twenty "
        "misses, and there are many here.",
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
    if any(max(phase.tower_learning_rate, phase.text_rate) > 0 for phase in setting.config.phases):
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


def main(
    catalog: Annotated[
        list[Path], typer.Option(help="Labelled catalog to train and measure on; repeatable.")
    ],
    output: Annotated[Path, typer.Option(help="Markdown page to write.")],
    unseen_source: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog to measure on only; repeatable.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("trained/comparison"),
    config: Annotated[Path, typer.Option(help="Training configuration.")] = _RECIPE,
    set_: SetOption = None,
    system: Annotated[
        list[str] | None, typer.Option(help="System to train; repeatable (default: all).")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="At most N seeds a system.")] = 3,
) -> None:
    """Train every system alike, and compare them."""
    recipe = load_yaml(config, TrainingConfig, {}, parse_settings(set_ or []))
    if unknown := set(system or ()) - set(SYSTEMS):
        raise ConfigError(
            f"--system is unknown: found {', '.join(sorted(unknown))}, expected some of "
            f"{', '.join(SYSTEMS)}. Correct it."
        )
    prepare_target(output)
    unseen = unseen_source or []
    setting = open_setting(recipe, catalog, unseen, folder.resolve())
    for seed in range(seeds):
        for name, one in SYSTEMS.items():
            if seed < one.seeds and (not system or name in system):
                make_run(setting, name, seed)
    shown = (" ".join(each.name for each in sources) for sources in (catalog, unseen))
    made_by = 'make compare CATALOGS="{}" UNSEEN_SOURCES="{}"'.format(*shown)
    if recipe.leave_out:
        kinds = (f"{column}: [{', '.join(values)}]" for column, values in recipe.leave_out.items())
        made_by += f" LEAVE_OUT='{{{', '.join(kinds)}}}'"
    write_page(setting, output, made_by, datetime.now(UTC).strftime("%-d %B %Y"))
    typer.echo(f"page: {output}")


if __name__ == "__main__":
    run_command(main)
