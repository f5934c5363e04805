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

from enrich.adaptation.adapt import adapt
from enrich.adaptation.checkpoint import refuse_fitted, write_adapted
from enrich.adaptation.effect import Effect
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

# Where confidence is further off than this, and answers are wrong more often, the labelled products
# were hardly drawn at random: in a shop of other goods that it had never seen, the bundled
# checkpoint had an expected calibration error of 0.2 and an accuracy of 0.58.
SUSPICIOUS_ECE, SUSPICIOUS_ACCURACY = 0.3, 0.5


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
        effects = fit(engine, labelled)
        write_adapted(manifest, effects, name, catalog.resolve().parent.name, output)
        summary = {
            "output": str(output),
            "name": name,
            "products": len(labelled.products),
            "not_in_catalog": labelled.unknown_ids,
            "attributes": summarise(effects),
        }
        typer.echo(json.dumps(summary))


def fit(engine: Engine, labelled: ShopLabels) -> dict[str, Effect]:
    """Fits, and prints what that changes.

    Returns:
        What fitting changes, of each attribute that is labelled often enough.

    Raises:
        ConfigError: no attribute is labelled often enough.
        AdaptationRefused: no attribute would be answered better.
    """
    effects = adapt(engine, labelled)
    for attribute, targets in labelled.targets.items():
        labels = (targets >= 0).sum()
        if attribute not in effects:
            reason = (
                f"{labels} labels are fewer than {FEWEST_LABELS}"
                if labels < FEWEST_LABELS
                else f"fewer than {FEWEST_LABELS} of its {labels} labelled products can be read"
            )
            typer.echo(f"{attribute}: left as it was, {reason}", err=True)
    if not effects:
        raise ConfigError(
            f"no attribute has {FEWEST_LABELS} labelled products that can be read: label more"
        )
    for attribute, effect in effects.items():
        accuracy, ece = effect.before["accuracy"] or 0, effect.before["ece"] or 0
        if accuracy < SUSPICIOUS_ACCURACY and ece > SUSPICIOUS_ECE:
            typer.echo(
                f"{attribute}: the classifier is right in {accuracy:.0%} of these products, far "
                "less than its confidence says. If they were chosen because it got them wrong, "
                "fitting teaches it its mistakes: label products that --suggest names",
                err=True,
            )
    print_markdown(format_report(effects))
    if not any(effect.is_better for effect in effects.values()):
        raise AdaptationRefused(
            "no attribute would be answered better than before, and as often where that was "
            "precise enough, so nothing is written: give more labels, of products that --suggest "
            "names"
        )
    return effects


if __name__ == "__main__":
    run_command(main)
