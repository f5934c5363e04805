"""Fit a checkpoint to a shop by a few hundred of its labelled products.

    python jobs/adapt_checkpoint.py --config shop.yaml --suggest 300 --output label_me.csv
    python jobs/adapt_checkpoint.py --config shop.yaml --corrections labelled.csv --output fitted

The last line on standard output is one JSON object.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from enrich.adaptation.checkpoint import fit_checkpoint, summarise
from enrich.adaptation.shop_labels import read_shop_labels, write_suggestions
from enrich.classifiers.checkpoint import check_checkpoint_target
from enrich.classifiers.manifest import Manifest, fetch_manifest
from enrich.cli import Given, common_options, run_command
from enrich.errors import ConfigError
from enrich.files.labels import read_labels
from enrich.files.products import Source, open_source, read_catalog
from enrich.places import prepare_target, refuse_existing


@common_options("catalog", "image_root", "checkpoint")
def main(
    given: Given,
    output: Annotated[
        Path, typer.Option(help="Checkpoint folder to write, or with --suggest a CSV file.")
    ],
    corrections: Annotated[
        Path | None,
        typer.Option(
            help="Labelled products: product_id, attribute, label, or a column for each attribute. "
            "With --suggest, products not to draw.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="The new checkpoint's name (default: the old one and '-adapted')."),
    ] = None,
    suggest: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Only draw N random products to label, and write them to --output.",
        ),
    ] = None,
) -> None:
    """Fit a checkpoint to a shop by products that somebody has labelled."""
    if suggest and name:
        raise ConfigError("--suggest writes no checkpoint: leave --name out")
    source = open_source(given.read_with_catalog())
    manifest = fetch_manifest(source.settings.checkpoint)
    if suggest:
        suggest_products(manifest, source, corrections, suggest, output)
    elif corrections:
        adapt_checkpoint(manifest, source, corrections, name, output)
    else:
        raise ConfigError("nothing to adapt to: give --corrections FILE, or --suggest N")


def suggest_products(
    manifest: Manifest, source: Source, corrections: Path | None, count: int, output: Path
) -> None:
    """Write products to label next, without those that are labelled already."""
    refuse_existing(output)
    prepare_target(output)
    catalog = read_catalog(source.table, source.settings.columns)
    answers = manifest.config.answers
    known = set[str]()
    if corrections:
        labels = manifest.config.attributes
        known = set(read_labels(corrections, labels, open_to=labels)["product_id"])
    written = write_suggestions(catalog, answers, count, known, output)
    typer.echo(json.dumps({"suggested": written, "output": str(output)}))


def adapt_checkpoint(
    manifest: Manifest, source: Source, corrections: Path, name: str | None, output: Path
) -> None:
    """Write a checkpoint that is fitted to the corrections."""
    name = name or f"{manifest.config.name.removesuffix('-adapted')}-adapted"
    check_checkpoint_target(name, output)
    catalog = read_catalog(source.table, source.settings.columns)
    labelled = read_shop_labels(
        corrections,
        catalog,
        manifest.config.answers,
        guessed=manifest.guessed,
        own=source.settings.labels,
        image_root=source.image_root,
    )
    adapted = fit_checkpoint(manifest, labelled, source, name, output)
    summary = {
        "output": str(output),
        "name": name,
        "products": len(labelled.products),
        "not_in_catalog": labelled.unknown_ids,
        "attributes": summarise(adapted.effects),
        "left_as_they_were": adapted.left,
        "left_out": labelled.left_out,
    }
    typer.echo(json.dumps(summary))


if __name__ == "__main__":
    run_command(main)
