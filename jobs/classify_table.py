"""Run the engine alone over a product table, without Spark.

    python jobs/classify_table.py --catalog shop/products.parquet --output attributes.parquet

The output has one row for each input row, in the same order. The last line on standard output is
one JSON object. Exit codes are those of the main job: 3 if too many products, or their images,
could not be read.
"""

import json
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from enrich.classifiers.manifest import fetch_manifest
from enrich.cli import Given, common_options, run_command
from enrich.engine.columns import arrow_schema, to_table
from enrich.engine.engine import Engine
from enrich.engine.spec import open_engine
from enrich.engine.unreadable import FailureCounts
from enrich.errors import StorageFailed, first_line
from enrich.files.products import open_source, read_catalog, read_products
from enrich.places import atomic_write, prepare_target, require_suffix
from enrich.records import Product
from enrich.terminal import watch

ROWS_IN_MEMORY = 1_000


@common_options("catalog", "image_root", "checkpoint")
def main(
    given: Given,
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows.")] = None,
) -> None:
    """Classify a table's products without Spark."""
    require_suffix(output, ".parquet")
    source = open_source(given.read_with_catalog())
    manifest = fetch_manifest(source.settings.checkpoint)
    products = read_products(source.table, limit, source.settings.columns)
    engine = open_engine(manifest, source.image_root, source.settings)
    prepare_target(output, source.table)

    begin = time.perf_counter()
    columns, applies_to = source.settings.columns, engine.spec.applies_to
    categories = read_catalog(source.table, columns).categories if applies_to else {}
    try:
        counts = write_parquet(engine, products, categories, output)
    except OSError as error:
        raise StorageFailed(f"{output} cannot be written: {first_line(error)}") from error
    seconds = time.perf_counter() - begin
    summary = {
        "read": counts.rows,
        "answered": counts.rows - counts.unreadable,
        "unreadable": counts.unreadable,
        "failed_images": counts.failed_images,
        "seconds": round(seconds, 2),
        "products_per_second": round(counts.rows / seconds, 1) if counts.rows else None,
        "model_version": engine.spec.model_version,
        "output": str(output),
    }
    typer.echo(json.dumps(summary))
    # After the write: the file shows the failed products, and why they failed.
    counts.refuse_many(source.settings)


def write_parquet(
    engine: Engine, table: pa.Table, categories: Mapping[str, str], output: Path
) -> FailureCounts:
    """Write the answers as they come, and count them. The write is atomic."""
    spec, counts = engine.spec, FailureCounts()
    encoded = watch(engine.encode(_read(table)), "classifying", table.num_rows)
    with atomic_write(output) as partial:
        writer = pq.ParquetWriter(partial, arrow_schema(spec.attributes))
        while some := list(islice(encoded, ROWS_IN_MEMORY)):
            for one in some:
                counts.add(one)
            version = spec.model_version
            answers = to_table(some, engine.answerer, spec.attributes, version, categories)
            writer.write_batch(answers)
        writer.close()
    return counts


def _read(table: pa.Table) -> Iterator[Product]:
    for batch in table.to_batches(ROWS_IN_MEMORY):
        for row in batch.to_pylist():
            yield Product(**row)


if __name__ == "__main__":
    run_command(main)
