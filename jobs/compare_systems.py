"""Train every system alike on frozen towers, and write the table that compares them.

    python jobs/compare_systems.py --catalog shop/ --unseen-source other/ --output comparison.md \
        --set image_tower=tower --set text_tower=texts

Runs that are in `--folder` are not made again, so a killed command goes on where it was.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from enrich.cli import run_command
from enrich.errors import ConfigError, load_extra
from enrich.files.atomic_write import prepare_target
from enrich.settings_files import load_yaml, parse_settings
from enrich.training.config import TrainingConfig

_RECIPE = Path(__file__).parent / "conf" / "training_comparison.yaml"


def main(
    catalog: Annotated[list[Path], typer.Option(help="Labelled catalog to train on; repeatable.")],
    output: Annotated[Path, typer.Option(help="Markdown page to write.")],
    folder: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("trained/comparison"),
    unseen_source: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog to measure on only; repeatable.")
    ] = None,
    config: Annotated[Path, typer.Option(help="Training configuration.")] = _RECIPE,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Setting in place of the configuration's, value as in YAML; repeatable.",
        ),
    ] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="System to compare; repeatable. All of them.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="At most N seeds a system.")] = 3,
) -> None:
    """Train every system alike, and write the table that compares them."""
    load_extra("matplotlib", "train")
    # Imported only now: without matplotlib there is a message, no trace.
    from enrich.analysis.systems import SYSTEMS, make_run, open_setting
    from enrich.analysis.table import write_page

    if unknown := set(system or ()) - set(SYSTEMS):
        raise ConfigError(
            f"--system is unknown: found {', '.join(sorted(unknown))}, expected some of "
            f"{', '.join(SYSTEMS)}. Correct it."
        )
    recipe = load_yaml(config, TrainingConfig, {}, parse_settings(set_ or []))
    prepare_target(output)
    setting = open_setting(recipe, catalog, unseen_source or [], folder.resolve())
    chosen = [name for name in SYSTEMS if not system or name in system]
    for seed in range(seeds):
        for name in chosen:
            if seed < SYSTEMS[name].seeds:
                make_run(setting, name, seed)
    names = (" ".join(each.name for each in sources) for sources in (catalog, unseen_source or []))
    made_by = 'make compare CATALOGS="{}" UNSEEN_SOURCES="{}"'.format(*names)
    write_page(setting, output, made_by, datetime.now(UTC).strftime("%-d %B %Y"))
    typer.echo(f"page: {output}")


if __name__ == "__main__":
    run_command(main)
