"""Runs the engine alone over a Parquet, CSV or JSON file, without Spark.

    python jobs/classify_table.py --catalog shop/products.parquet --output attributes.parquet

One output row an input row, in the same order, with the columns of `product_attributes` as far as
they make sense here. The last line on standard output is one JSON object. Exit codes are those of
the main job: 3 if too many products, or their images, could not be read.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.progress import track

from enrich.classifiers.manifest import BUNDLED, fetch_manifest
from enrich.command_line import CheckpointOption, ImageRootOption, run_command
from enrich.config import JobConfig, is_too_much
from enrich.engine import Engine, open_engine
from enrich.errors import StorageFailed, TooManyFailures, first_line
from enrich.files.products import read_products
from enrich.files.targets import prepare_target, require_suffix
from enrich.files.whole import whole_file
from enrich.records import NO_IMAGE_PATH, Product
from enrich.rows import arrow_schema, to_row
from enrich.spec import EngineSpec

ROWS_IN_MEMORY = 1_000


def main(
    catalog: Annotated[Path, typer.Option(help="Product table: Parquet, CSV or JSON file.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    image_root: ImageRootOption = None,
    checkpoint: CheckpointOption = str(BUNDLED),
    limit: Annotated[int | None, typer.Option(min=1, help="First N rows only.")] = None,
) -> None:
    """Classifies a file's products without Spark."""
    require_suffix(output, ".parquet")
    manifest = fetch_manifest(checkpoint)
    products = read_products(catalog, limit)
    engine = open_engine(manifest, image_root or str(catalog.resolve().parent))
    prepare_target(output, catalog)

    begin = time.perf_counter()
    told = write_parquet(classify(engine, products), engine.spec, output)
    seconds = time.perf_counter() - begin
    summary = {
        "read": told.rows,
        "answered": told.rows - told.unreadable,
        "unreadable": told.unreadable,
        "seconds": round(seconds, 2),
        "products_per_second": round(told.rows / seconds, 1) if told.rows else None,
        "model_version": engine.spec.model_version,
        "output": str(output),
    }
    typer.echo(json.dumps(summary))
    refuse_many_failures(told)


@dataclass(slots=True)
class Told:
    """How many rows were written; of how many nothing could be read, or not the image they name."""

    rows: int = 0
    unreadable: int = 0
    images: int = 0
    lost_images: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a row."""
        names_one = row["error"] != NO_IMAGE_PATH
        self.rows += 1
        self.unreadable += row["modalities"] is None
        self.images += names_one
        self.lost_images += names_one and row["status"].startswith("image_")


def refuse_many_failures(told: Told) -> None:
    """Raises TooManyFailures where the main job would; the file has been written by then."""
    settings = JobConfig()
    for what, found, among, allowed in (
        ("products", told.unreadable, told.rows, settings.max_quarantined_share),
        ("images", told.lost_images, told.images, settings.max_failed_images_share),
    ):
        if is_too_much(found, among, allowed):
            raise TooManyFailures(
                f"{found:,} of {among:,} {what} could not be read, {allowed:.0%} would be put up "
                "with: check the file, the image root and its permissions"
            )


def classify(engine: Engine, table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yields one row a product, in order, with a progress bar on standard error."""
    batches = table.to_batches(ROWS_IN_MEMORY)
    products = (Product(**row) for batch in batches for row in batch.to_pylist())
    answers = track(
        engine.enrich(products), "classifying", table.num_rows, console=Console(stderr=True)
    )
    for answer in answers:
        yield {
            "product_id": answer.product_id,
            **to_row(answer, engine.spec.attributes),
            "model_version": engine.spec.model_version,
        }


def write_parquet(rows: Iterable[dict[str, Any]], spec: EngineSpec, output: Path) -> Told:
    """Writes the rows as they come, and counts them; a reader never sees half a file."""
    schema = arrow_schema(spec.attributes)
    told = Told()
    waiting = iter(rows)
    with whole_file(output) as partial:
        with _told_of_the_disk(output):
            writer = pq.ParquetWriter(partial, schema)
        while some := list(islice(waiting, ROWS_IN_MEMORY)):
            with _told_of_the_disk(output):
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
            for row in some:
                told.add(row)
        with _told_of_the_disk(output):
            writer.close()
    return told


@contextmanager
def _told_of_the_disk(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{output} cannot be written: {first_line(error)}") from error


if __name__ == "__main__":
    run_command(main)
