"""Compare checkpoints, or train every system alike on frozen towers and compare.

    python jobs/compare.py --checkpoint a --checkpoint b --catalog shop/ --output page.md
    python jobs/compare.py --catalog shop/ --unseen-source other/ --output page.md \
        --set image_tower=tower --set text_tower=texts

Runs of systems that are in `--folder` are not repeated, so a killed command resumes.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from enrich.analysis.bootstrap import Measures
from enrich.analysis.compare import (
    build_sources,
    find_shared,
    load_checkpoints,
    score_checkpoint,
    score_words,
)
from enrich.analysis.report import compare_checkpoints
from enrich.analysis.system_page import write_page
from enrich.analysis.systems import SYSTEMS, make_run, open_setting
from enrich.analysis.words import LEXICON
from enrich.cli import SetOption, run_command
from enrich.engine.device import local_device
from enrich.errors import ConfigError
from enrich.files.atomic_write import prepare_target
from enrich.settings_files import load_yaml, parse_settings
from enrich.training.config import TrainingConfig

_RECIPE = Path(__file__).parent / "conf" / "training_comparison.yaml"
_DRAWS = 1000


def main(
    output: Annotated[Path, typer.Option(help="Markdown page to write.")],
    catalog: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog that is trained on; repeatable.")
    ] = None,
    unseen_source: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog to measure on only; repeatable.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="Checkpoint to compare as it is; repeatable.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --checkpoint: at most N products a catalog.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the runs (default: trained/comparison).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Training configuration (default: the bundled recipe).")
    ] = None,
    set_: SetOption = None,
    system: Annotated[
        list[str] | None, typer.Option(help="System to train; repeatable (default: all).")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="At most N seeds a system (default: 3).")
    ] = None,
) -> None:
    """Compare checkpoints, or train every system alike and compare those."""
    of_systems = {"folder": folder, "config": config, "set": set_, "system": system, "seeds": seeds}
    unused = of_systems if checkpoint else {"limit": limit}
    if given := [f"--{flag}" for flag, value in unused.items() if value]:
        raise ConfigError(
            f"{', '.join(given)} has no effect {'with' if checkpoint else 'without'} --checkpoint. "
            "Leave it out."
        )
    if checkpoint:
        _compare_checkpoints(checkpoint, catalog or [], unseen_source or [], limit, output)
    else:
        recipe = load_yaml(config or _RECIPE, TrainingConfig, {}, parse_settings(set_ or []))
        runs, most = folder or Path("trained/comparison"), seeds or 3
        _compare_systems(recipe, catalog or [], unseen_source or [], runs, output, system, most)
    typer.echo(f"page: {output}")


def _compare_checkpoints(
    locations: list[str],
    catalogs: list[Path],
    unseen: list[Path],
    limit: int | None,
    output: Path,
) -> None:
    sources = build_sources(catalogs, unseen, limit)
    checkpoints = load_checkpoints(locations, local_device())
    shared = find_shared(checkpoints)
    prepare_target(output)
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary)
        runs = {one.name: [score_checkpoint(one, shared, sources, cache)] for one in checkpoints}
        if catalogs:
            runs[LEXICON] = [score_words(checkpoints[0], shared, catalogs, sources, cache)]
        compare_checkpoints(Measures(runs, [LEXICON], _DRAWS), checkpoints, output)


def _compare_systems(
    recipe: TrainingConfig,
    catalogs: list[Path],
    unseen: list[Path],
    folder: Path,
    output: Path,
    names: list[str] | None,
    seeds: int,
) -> None:
    if not catalogs:
        raise ConfigError(
            "a catalog is missing: found 0, expected 1 or more. Give --catalog, or --checkpoint."
        )
    if unknown := set(names or ()) - set(SYSTEMS):
        raise ConfigError(
            f"--system is unknown: found {', '.join(sorted(unknown))}, expected some of "
            f"{', '.join(SYSTEMS)}. Correct it."
        )
    prepare_target(output)
    setting = open_setting(recipe, catalogs, unseen, folder.resolve())
    for seed in range(seeds):
        for name, system in SYSTEMS.items():
            if seed < system.seeds and (not names or name in names):
                make_run(setting, name, seed)
    shown = (" ".join(each.name for each in sources) for sources in (catalogs, unseen))
    made_by = 'make compare CATALOGS="{}" UNSEEN_SOURCES="{}"'.format(*shown)
    if recipe.leave_out:
        kinds = (f"{column}: [{', '.join(values)}]" for column, values in recipe.leave_out.items())
        made_by += f" LEAVE_OUT='{{{', '.join(kinds)}}}'"
    write_page(setting, output, made_by, datetime.now(UTC).strftime("%-d %B %Y"))


if __name__ == "__main__":
    run_command(main)
