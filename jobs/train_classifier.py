"""Trains a classifier from labelled product tables and writes a checkpoint folder.

    python jobs/train_classifier.py --catalog shop/ --output checkpoints/mine

A catalog folder holds products.parquet, labels.parquet and the images. A killed run goes on where
it stopped when the same command is given again.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from enrich.command_line import load_yaml, run_command
from enrich.training.config import TrainingConfig
from enrich.training.run import train_checkpoint

DEFAULT_CONFIG = Path(__file__).parent / "conf" / "training_small.yaml"


def main(
    catalog: Annotated[list[Path], typer.Option(help="Labelled catalog folder; repeatable.")],
    output: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    config: Annotated[Path, typer.Option(help="Training configuration.")] = DEFAULT_CONFIG,
    strange_shop: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog to evaluate on only; repeatable.")
    ] = None,
) -> None:
    """Trains a classifier from labelled product tables."""
    train_checkpoint(load_yaml(config, TrainingConfig), catalog, output, strange_shops=strange_shop)
    Console(width=160).print(Markdown((output / "MODEL_CARD.md").read_text()))
    typer.echo(f"checkpoint: {output}")


if __name__ == "__main__":
    run_command(main)
