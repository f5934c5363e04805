"""Explain the answers of a checkpoint to one product, as a picture.

    python jobs/explain_product.py --image shirt.jpg --title "Blue shirt" --output shirt.png
    python jobs/explain_product.py --config shop.yaml --product-id 42 --output 42.png

It shows the patches that each word of the text attends to (the paper's figure 2).
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from enrich.analysis.explain import explain
from enrich.calibration import UnseenSource
from enrich.classifiers.manifest import Manifest, fetch_manifest
from enrich.cli import Given, common_options, run_command
from enrich.config import JobConfig
from enrich.engine.spec import open_engine
from enrich.errors import ConfigError, load_extra
from enrich.files.products import Source, find_product, open_source
from enrich.images.store import ImageStore
from enrich.places import prepare_target, require_suffix
from enrich.records import Product

log = logging.getLogger(__name__)


@common_options("catalog", "image_root", "checkpoint", "database")
def main(
    given: Given,
    output: Annotated[Path, typer.Option(help="PNG file to write.")],
    image: Annotated[Path | None, typer.Option(help="The product's image file.")] = None,
    title: Annotated[str | None, typer.Option(help="The product's title.")] = None,
    description: Annotated[str | None, typer.Option(help="The product's description.")] = None,
    product_id: Annotated[
        str | None, typer.Option(help="Product of the catalog to explain.")
    ] = None,
) -> None:
    """Explain the answers of a checkpoint to one product, as a picture."""
    load_extra("matplotlib", "train")
    # Imported here, because it imports matplotlib: without that, a message and no traceback.
    from enrich.analysis.explanation_figure import MOST_WORDS, draw

    is_alone = any((title, description, image))
    if (is_alone and product_id) or (given.catalog is not None and not product_id):
        raise ConfigError(
            "--product-id and --catalog go together, and without --image, --title and "
            "--description: the catalog has the product's own"
        )
    if is_alone and given.database is not None:
        raise ConfigError("--database goes with --catalog: a product of your own has no source")
    if is_alone and given.image_root is not None:
        raise ConfigError("--image-root goes with --catalog: --image is a file's path by itself")
    if not is_alone and not (product_id and (given.catalog or given.config)):
        raise ConfigError(
            "no product: give --image or --title, or --product-id and --catalog or --config"
        )
    settings = given.read()
    source = None if is_alone else open_source(settings)
    shown = Product(product_id or "", title, description, None if image is None else image.name)
    product, root = choose_product(shown, image, source)
    store = ImageStore(root, settings.allowed_image_roots, lists=settings.image_lists)
    table = None if source is None else source.table
    prepare_target(output, image, table, store.find_local(product.image_path))
    require_suffix(output, ".png")
    manifest = fetch_manifest(settings.checkpoint)
    rise = 0.0
    if source is not None and (given.config or given.database):
        rise = find_rise(settings, manifest, is_asked_for=given.database is not None)
    engine = open_engine(manifest, root, settings, rise)
    draw(explain(engine, product, MOST_WORDS), output)
    typer.echo(f"explanation: {output}")


def find_rise(settings: JobConfig, manifest: Manifest, *, is_asked_for: bool) -> float:
    """Return by how much the job's thresholds rise in the catalog, in log odds.

    Raises ConfigError if a database that a flag names has no tables on this machine.
    """
    if settings.unseen_source is UnseenSource.CALIBRATED:
        return 0.0
    try:
        load_extra("pyspark", "spark")
        # Imported here because of pyspark.
        from enrich.spark.stored import read_rise

        return read_rise(settings.database, settings.catalog, manifest.digests.encoder)
    except ConfigError as error:
        if is_asked_for:
            raise
        log.warning("thresholds are those of a source like training's: %s", error)
        return 0.0


def choose_product(
    given: Product, image: Path | None, source: Source | None
) -> tuple[Product, str]:
    """Return the product that the flags name, and the folder of its image path."""
    if source is not None:
        product = find_product(source.table, given.product_id, source.settings.columns)
        return product, source.image_root
    if image is None:
        return given, str(Path.cwd())
    if not image.is_file():
        raise ConfigError(f"no image file at {image}")
    file = image.resolve()
    named = replace(given, product_id=given.product_id or image.name, image_path=file.name)
    return named, str(file.parent)


if __name__ == "__main__":
    run_command(main)
