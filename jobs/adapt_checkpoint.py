"""Fits a checkpoint to a shop by a few hundred of its products that somebody has labelled.

    python jobs/adapt_checkpoint.py --catalog shop/products.csv --suggest 300 --output label_me.csv
    python jobs/adapt_checkpoint.py --catalog shop/products.csv --corrections labelled.csv \
        --output checkpoints/shop

The first names products to label: a quarter of them those that the classifier is unsure of, the
others at random. The second writes a checkpoint that the job runs like any other. What is fitted is
how far pictures are trusted, a correction of the scores, temperatures and thresholds; all other
weights stay. The last line on standard output is one JSON object.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from enrich.adaptation.adapt import Adaptation, adapt
from enrich.adaptation.checkpoint import refuse_fitted, write_adapted
from enrich.adaptation.report import format_report, summarise
from enrich.adaptation.shop_labels import ShopLabels, read_shop_labels
from enrich.adaptation.suggest import write_suggestions
from enrich.adaptation.trial import FEWEST_LABELS
from enrich.classifiers.checkpoint import check_checkpoint_target
from enrich.classifiers.manifest import BUNDLED, fetch_manifest
from enrich.command_line import (
    CheckpointOption,
    ImageRootOption,
    choose_image_root,
    print_markdown,
    run_command,
)
from enrich.engine import Engine, open_engine
from enrich.errors import AdaptationRefused, ConfigError
from enrich.files.products import read_unique_products


def main(
    catalog: Annotated[Path, typer.Option(help="Product table: Parquet, CSV or JSON file.")],
    output: Annotated[
        Path, typer.Option(help="Checkpoint folder to write; with --suggest a CSV file.")
    ],
    corrections: Annotated[
        Path | None,
        typer.Option(
            help="Labelled products: product_id and one column an attribute. With --suggest, those "
            "that are labelled already.",
        ),
    ] = None,
    image_root: ImageRootOption = None,
    checkpoint: CheckpointOption = str(BUNDLED),
    name: Annotated[
        str | None, typer.Option(help="The new checkpoint's name; the old one and '-adapted'.")
    ] = None,
    suggest: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Name N products to label instead: a quarter unsure ones, the rest at random; "
            "of sizes of one article one.",
        ),
    ] = None,
) -> None:
    """Fits a checkpoint to a shop by products that somebody has labelled."""
    if corrections is None and suggest is None:
        raise ConfigError("nothing to adapt to: give --corrections FILE, or --suggest N")
    if suggest and name:
        raise ConfigError("--suggest writes no checkpoint: leave --name out")
    manifest = fetch_manifest(checkpoint)
    name = name or f"{manifest.config.name.removesuffix('-adapted')}-adapted"
    check_checkpoint_target(name, output)
    # Before the engine is built: what is wrong with a file shows at once.
    labelled = corrections and read_shop_labels(corrections, catalog, manifest.config.attributes)
    if labelled and not suggest:
        refuse_fitted(manifest, labelled.targets)
    products = read_unique_products(catalog) if suggest else []
    engine = open_engine(manifest, choose_image_root(image_root, catalog))
    if suggest:
        known = {product.product_id for product in labelled.products} if labelled else set()
        written = write_suggestions(engine, products, suggest, known, output)
        typer.echo(json.dumps({"suggested": written, "output": str(output)}))
    elif labelled:
        adapted = fit(engine, labelled)
        write_adapted(manifest, adapted.effects, name, catalog.resolve().parent.name, output)
        summary = {
            "output": str(output),
            "name": name,
            "products": len(labelled.products),
            "not_in_catalog": labelled.unknown_ids,
            "attributes": summarise(adapted.effects),
            "left_as_they_were": adapted.left,
            "doubts": adapted.doubts,
        }
        typer.echo(json.dumps(summary))


def fit(engine: Engine, labelled: ShopLabels) -> Adaptation:
    """Fits, prints what that changes and why not more of it does, and returns both.

    Raises:
        ConfigError: no attribute is labelled often enough.
        AdaptationRefused: no attribute would be answered better, or no labels say enough of the
            shop.
    """
    adapted = adapt(engine, labelled)
    for attribute, reason in adapted.left.items():
        typer.echo(f"{attribute}: left as it was, {reason}", err=True)
    if not adapted.effects and not adapted.flaws:
        raise ConfigError(
            f"no attribute has {FEWEST_LABELS} labelled products that can be read: label more"
        )
    if not adapted.effects:
        raise AdaptationRefused("no labels are such that fitting helps, so nothing is written")
    for attribute, doubt in adapted.doubts.items():
        typer.echo(f"{attribute}: {doubt}", err=True)
    print_markdown(format_report(adapted.effects))
    if not any(effect.is_better for effect in adapted.effects.values()):
        raise AdaptationRefused(
            "no attribute would be answered better than before, and as often where that was "
            "precise enough, so nothing is written: give more labels, of products that --suggest "
            "names"
        )
    return adapted


if __name__ == "__main__":
    run_command(main)
