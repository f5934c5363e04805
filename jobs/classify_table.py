"""Runs the engine alone over a Parquet, CSV or JSON file, without Spark.

    python jobs/classify_table.py --catalog shop/products.parquet --output attributes.parquet

One output row an input row, in the same order, with the columns of `product_attributes` as far as
they make sense here. The last line on standard output is one JSON object.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from rich.console import Console
from rich.progress import track

from enrich.classifiers.manifest import BUNDLED, fetch_checkpoint, read_manifest
from enrich.command_line import run_command
from enrich.config import JobConfig
from enrich.errors import ConfigError
from enrich.product_file import read_products
from enrich.records import Product
from enrich.rows import arrow_schema, to_row
from enrich.spec import EngineSpec, RunsProducts, build_spec


def main(
    catalog: Annotated[Path, typer.Option(help="Product table: Parquet, CSV or JSON file.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    image_root: Annotated[
        str | None, typer.Option(help="Where relative image paths start; the catalog's folder.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Classifier checkpoint; the bundled one.")] = str(
        BUNDLED
    ),
    limit: Annotated[int | None, typer.Option(min=1, help="First N rows only.")] = None,
) -> None:
    """Classifies a file's products without Spark."""
    settings = JobConfig(checkpoint=checkpoint)
    manifest = read_manifest(fetch_checkpoint(checkpoint))
    products = read_products(catalog, limit)
    spec = build_spec(settings, manifest, image_root or str(catalog.resolve().parent))
    engine = spec.build(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    prepare_target(output)

    begin = time.perf_counter()
    rows = list(classify(engine, spec, products))
    seconds = time.perf_counter() - begin
    write_parquet(rows, spec, output)
    answered = sum(row["modalities"] is not None for row in rows)
    summary = {
        "read": len(rows),
        "answered": answered,
        "unreadable": len(rows) - answered,
        "seconds": round(seconds, 2),
        "products_per_second": round(len(rows) / seconds, 1) if rows else None,
        "model_version": spec.model_version,
        "output": str(output),
    }
    typer.echo(json.dumps(summary))


def classify(engine: RunsProducts, spec: EngineSpec, table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yields one row a product, in order, with a progress bar on standard error."""
    products = (Product(*row.values()) for row in table.to_pylist())
    answers = track(
        engine.enrich(products), "classifying", table.num_rows, console=Console(stderr=True)
    )
    for answer in answers:
        yield {
            "product_id": answer.product_id,
            **to_row(answer, spec.attributes),
            "model_version": spec.model_version,
        }


def prepare_target(output: Path) -> None:
    """Makes the folder of the file to write, before anything is computed.

    Raises:
        ConfigError: nothing can be written there.
    """
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; give --output the name of a file")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ConfigError(f"nothing can be written in {output.parent}: {error.strerror}") from error


def write_parquet(rows: list[dict[str, Any]], spec: EngineSpec, output: Path) -> None:
    """Writes the rows, under another name first: a reader never sees half a file."""
    schema = arrow_schema(spec.attributes)
    partial = output.with_name(f".{output.name}.partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), partial)
    partial.replace(output)


if __name__ == "__main__":
    run_command(main)
