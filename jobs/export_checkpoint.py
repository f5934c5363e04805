"""Export a checkpoint to one whose towers compute in int8 on a CPU.

    python jobs/export_checkpoint.py --checkpoint checkpoints/clip --catalog shop/products.csv \
        --output checkpoints/clip-int8

Nothing is written if too many answers differ. The last line on standard output is one JSON object.
"""

import json
import random
from pathlib import Path
from typing import Annotated

import typer

from enrich.analysis.int8 import (
    compare_with_int8,
    format_report,
    refuse_other_answers,
    summarise,
    write_exported,
)
from enrich.classifiers.checkpoint import check_checkpoint_target
from enrich.classifiers.manifest import fetch_manifest, read_metrics
from enrich.cli import Given, common_options, run_command
from enrich.errors import ConfigError
from enrich.files.products import open_source, read_catalog
from enrich.terminal import print_markdown


@common_options("catalog", "image_root", "checkpoint")
def main(
    given: Given,
    output: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    name: Annotated[
        str | None,
        typer.Option(help="The new checkpoint's name (default: the old one and '-int8')."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Products to compare, at random.")] = 2_000,
    min_agreement: Annotated[
        float,
        typer.Option(min=0, max=1, help="Lower bound of the share of answers that must stay."),
    ] = 0.98,
) -> None:
    """Export a checkpoint to int8, if it answers as before."""
    source = open_source(given.read_with_catalog())
    manifest = fetch_manifest(source.settings.checkpoint)
    if manifest.config.int8:
        raise ConfigError(
            f"{manifest.config.name} cannot be exported: found int8 towers, expected floating point"
        )
    name = name or f"{manifest.config.name}-int8"
    check_checkpoint_target(name, output)
    products = list(read_catalog(source.table, source.settings.columns).products.values())
    chosen = random.Random(0).sample(products, min(sample, len(products)))
    # Before the comparison, which takes minutes.
    read_metrics(manifest.folder)
    if min_agreement == 1:
        raise ConfigError("no sample shows that all answers surely stay: give --min-agreement < 1")
    comparison = compare_with_int8(manifest, source.image_root, chosen, source.settings)
    print_markdown(format_report(comparison))
    refuse_other_answers(comparison, min_agreement)
    write_exported(manifest, name, comparison, output)
    typer.echo(json.dumps({"output": str(output), "name": name, **summarise(comparison)}))


if __name__ == "__main__":
    run_command(main)
