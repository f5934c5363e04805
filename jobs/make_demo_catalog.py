"""Draws a demo catalog of invented products into a folder.

    python jobs/make_demo_catalog.py --output demo_catalog --products 300

The folder holds products.parquet, labels.parquet and the images.
"""

from pathlib import Path
from typing import Annotated

import typer

from enrich.command_line import run_command
from demo.catalog import write_demo_catalog
from enrich.files.targets import require_writable


def main(
    output: Annotated[
        Path,
        typer.Option(help="Folder to write; a demo catalog that is there alone is replaced."),
    ] = Path("demo_catalog"),
    products: Annotated[int, typer.Option(min=1, help="How many products.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws another catalog.")] = 0,
    flaws: Annotated[bool, typer.Option(help="Plant what real catalogs have broken.")] = True,
) -> None:
    """Draws invented products, with the true labels beside them."""
    require_writable(output.parent)
    write_demo_catalog(output, products=products, seed=seed, flaws=flaws, show_progress=True)
    kind = "with planted flaws" if flaws else "without flaws"
    typer.echo(f"{products} products {kind} (seed {seed}): {output / 'products.parquet'}")
    typer.echo(f"their true labels: {output / 'labels.parquet'}")


if __name__ == "__main__":
    run_command(main)
