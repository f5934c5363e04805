"""Add an attribute of your own to a checkpoint, or new labels to one of its own.

    python jobs/add_attribute.py --name sleeve_length --labels sleeves.csv \
        --catalog shop/products.csv --output checkpoints/shop

The encoder stays, so the next run answers the whole catalog from its encodings. With --values in
place of --labels the attribute is guessed by the words of texts, and nothing of it is published.
The last line on standard output is one JSON object.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from enrich.adaptation.checkpoint import fit_checkpoint, summarise
from enrich.adaptation.readings import FindsEncodings
from enrich.adaptation.shop_labels import read_shop_labels
from enrich.adaptation.widening import write_widened
from enrich.classifiers.checkpoint import check_checkpoint_target
from enrich.classifiers.manifest import Manifest, fetch_manifest
from enrich.cli import Given, common_options, run_command
from enrich.engine.spec import EngineSpec
from enrich.errors import ConfigError, load_extra
from enrich.files.products import Source, open_source, read_catalog
from enrich.records import EncodedProduct, Product
from schemas.labels import RESERVED

log = logging.getLogger(__name__)


@common_options("catalog", "image_root", "checkpoint")
def main(
    given: Given,
    name: Annotated[str, typer.Option(help="A new attribute, or one to which labels are added.")],
    output: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Labelled products: product_id, attribute, label, or product_id, NAME."),
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="Instead of --labels: the labels' names, with commas.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="Database, or folder of its tables, whose encodings are used instead of opening "
            "pictures (default: that of --config).",
            metavar="NAME-or-FOLDER",
        ),
    ] = None,
    checkpoint_name: Annotated[
        str | None,
        typer.Option(help="The new checkpoint's name (default: the old one and '-NAME')."),
    ] = None,
) -> None:
    """Add an attribute to a checkpoint by labelled products, or by its labels' names."""
    if labels is not None and values is None:
        settings = given.read_with_catalog()
    elif values is not None and labels is given.catalog is given.image_root is database is None:
        settings = given.read()
    else:
        raise ConfigError(
            "an attribute is added by --labels and --catalog, or by --values alone: give either"
        )
    manifest = fetch_manifest(settings.checkpoint)
    called = checkpoint_name or f"{manifest.config.name.removesuffix(f'-{name}')}-{name}"
    check_checkpoint_target(called, output)
    if values is not None:
        add_by_names(manifest, name, values, called, output)
    elif labels is not None:
        source = open_source(settings)
        kept_in = settings.encodings_database or settings.database
        named = database or (kept_in if given.config else None)
        find_encodings = choose_encodings(named, is_asked_for=database is not None)
        add_by_labels(manifest, name, labels, source, called, output, find_encodings)


def choose_encodings(database: str | None, *, is_asked_for: bool) -> FindsEncodings | None:
    """Return what finds stored encodings; None without a database.

    What it returns raises ConfigError if a database that a flag names has none on this machine.
    """
    if database is None:
        return None

    def find(products: Sequence[Product], settings: EngineSpec) -> Mapping[str, EncodedProduct]:
        try:
            load_extra("pyspark", "spark")
            # Imported here because of pyspark.
            from enrich.spark.stored import open_stored

            return open_stored(database).find(products, settings)
        except ConfigError as error:
            if is_asked_for:
                raise
            log.warning("stored encodings are not used, and pictures are opened instead: %s", error)
            return {}

    return find


def add_by_labels(
    manifest: Manifest,
    attribute: str,
    labels: Path,
    source: Source,
    name: str,
    output: Path,
    find_encodings: FindsEncodings | None,
) -> None:
    """Write a checkpoint whose attribute is fitted to labelled products."""
    catalog = read_catalog(source.table, source.settings.columns)
    labelled = read_shop_labels(
        labels,
        catalog,
        manifest.config.answers,
        attribute,
        guessed=manifest.guessed,
        own=source.settings.labels,
        image_root=source.image_root,
    )
    adapted = fit_checkpoint(manifest, labelled, source, name, output, find_encodings)
    summary = {
        "output": str(output),
        "name": name,
        "attribute": attribute,
        "labels": labelled.labels[attribute],
        "left_out": labelled.left_out.get(attribute, {}),
        "applies_to": labelled.applies_to.get(attribute),
        "products": len(labelled.products),
        "not_in_catalog": labelled.unknown_ids,
        "from_database": adapted.stored,
        "images_opened": adapted.images_opened,
        "outlook": dataclasses.asdict(adapted.outlooks[attribute])
        if attribute in adapted.outlooks
        else None,
        **summarise(adapted.effects)[attribute],
    }
    typer.echo(f"{attribute} is answered by runs with --checkpoint {output}", err=True)
    typer.echo(json.dumps(summary))


def add_by_names(manifest: Manifest, attribute: str, values: str, name: str, output: Path) -> None:
    """Write a checkpoint that guesses the attribute by the words of texts."""
    if nulls := manifest.config.nulls.get(attribute):
        raise ConfigError(
            f"--values cannot add to {attribute}: found the answer {nulls[0]}, which was learnt. "
            "Add labels by labelled products (--labels)."
        )
    known = manifest.config.attributes.get(attribute, ())
    named = [value.strip() for value in values.split(",") if value.strip()]
    if taken := [value for value in named if value in RESERVED]:
        raise ConfigError(
            f"--values names what is reserved: found {taken[0]}, expected labels. People say it in "
            "files of labels."
        )
    new = tuple(value for value in dict.fromkeys(named) if value not in known)
    if not new or len(known) + len(new) < 2:
        raise ConfigError(
            f"--values names too few labels: found {', '.join(named) or 'none'}, expected two or "
            "more that the attribute does not have yet."
        )
    sets = manifest.config.answers | {attribute: (*known, *new)}
    write_widened(manifest, sets, name, output)
    typer.echo(
        json.dumps(
            {"output": str(output), "name": name, "attribute": attribute, "labels": sets[attribute]}
        )
    )


if __name__ == "__main__":
    run_command(main)
