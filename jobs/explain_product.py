"""Explain the answers of a checkpoint to one product, as a picture.

    python jobs/explain_product.py --image shirt.jpg --title "Blue shirt" --output shirt.png
    python jobs/explain_product.py --catalog shop/products.parquet --product-id 42 --output 42.png

The picture shows which patches of the image each word of the text attends to (the paper's figure
2), and for each attribute the answer, its confidence and its weights on image and text.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from enrich.analysis.explain import explain
from enrich.classifiers.manifest import BUNDLED, fetch_manifest
from enrich.command_line import CheckpointOption, ImageRootOption, run_command
from enrich.engine import open_engine
from enrich.errors import ConfigError
from enrich.extras import load_extra
from enrich.files.products import find_product
from enrich.files.targets import prepare_target, require_suffix
from enrich.images.store import ImageStore
from enrich.records import Product


def main(
    output: Annotated[Path, typer.Option(help="PNG file to write.")],
    image: Annotated[Path | None, typer.Option(help="The product's image file.")] = None,
    title: Annotated[str | None, typer.Option(help="The product's title.")] = None,
    description: Annotated[str | None, typer.Option(help="The product's description.")] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(help="Parquet, CSV or JSON file to take the product from instead."),
    ] = None,
    product_id: Annotated[str | None, typer.Option(help="Which product of the catalog.")] = None,
    image_root: ImageRootOption = None,
    checkpoint: CheckpointOption = str(BUNDLED),
) -> None:
    """Explain the answers of a checkpoint to one product, as a picture."""
    load_extra("matplotlib", "train")
    # Imported only now, because it imports matplotlib: without it there is a message, no trace.
    from enrich.analysis.explanation_figure import MOST_WORDS, draw

    given = Product(product_id or "", title, description, None if image is None else image.name)
    if image is not None and image_root is not None:
        raise ConfigError("--image is a file's path by itself: --image-root goes with --catalog")
    product, folder = choose_product(given, image, catalog)
    root = image_root or str(folder)
    prepare_target(output, image, catalog, ImageStore(root).find_local(product.image_path))
    require_suffix(output, ".png")
    engine = open_engine(fetch_manifest(checkpoint), root)
    draw(explain(engine, product, MOST_WORDS), output)
    typer.echo(f"explanation: {output}")


def choose_product(
    given: Product, image: Path | None, catalog: Path | None
) -> tuple[Product, Path]:
    """Return the product that the flags name, and the folder of its image path."""
    single = [given.title, given.description, given.image_path]
    if catalog is not None:
        if not given.product_id or any(single):
            raise ConfigError("--catalog goes with --product-id, and without a product's own flags")
        return find_product(catalog, given.product_id), catalog.resolve().parent
    if not any(single):
        raise ConfigError("no product: give --image or --title, or --catalog and --product-id")
    if image is None:
        return given, Path.cwd()
    if not image.is_file():
        raise ConfigError(f"no image file at {image}")
    file = image.resolve()
    named = replace(given, product_id=given.product_id or image.name, image_path=file.name)
    return named, file.parent


if __name__ == "__main__":
    run_command(main)
