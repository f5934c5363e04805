"""Train a classifier from labelled product tables, and write a checkpoint.

    python jobs/train_classifier.py --catalog shop/ --output checkpoints/mine

The same command resumes a killed run, from `<output>.training/`.
"""

from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.config import ClassifierName
from enrich.cli import SetOption, run_command
from enrich.settings_files import load_yaml, parse_settings
from enrich.terminal import print_markdown
from enrich.training.config import TrainingConfig
from enrich.training.run import check_training, train_checkpoint

DEFAULT_CONFIG = Path(__file__).parent / "conf" / "training_small.yaml"


def main(
    catalog: Annotated[
        list[Path], typer.Option(help="Labelled catalog folder, or LAYOUT:PATH; repeatable.")
    ],
    output: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    config: Annotated[Path, typer.Option(help="Training configuration.")] = DEFAULT_CONFIG,
    classifier: Annotated[
        ClassifierName | None,
        typer.Option(help="Classifier to train instead of the configuration's."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="The checkpoint's name (default: by the configuration)."),
    ] = None,
    set_: SetOption = None,
    unseen_source: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog to evaluate on only; repeatable.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check catalogs and labels; train nothing."),
    ] = False,
) -> None:
    """Train a classifier from labelled product tables."""
    flags = {"classifier": classifier, "name": name}
    settings = load_yaml(config, TrainingConfig, flags, parse_settings(set_ or []))
    if classifier and not name:
        settings = settings.model_copy(update={"name": f"{settings.name}-{classifier}"})
    output, unseen_sources = output.resolve(), unseen_source or []
    if check:
        check_training(settings, catalog, output, unseen_sources)
        typer.echo("catalogs and labels can be trained on")
        return
    if train_checkpoint(settings, catalog, output, unseen_sources=unseen_sources) is None:
        return  # the first of torchrun's processes prints
    print_markdown((output / "MODEL_CARD.md").read_text())
    typer.echo(f"checkpoint: {output}")


if __name__ == "__main__":
    run_command(main)
