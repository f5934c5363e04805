"""Runs the engine alone over a Parquet, CSV or JSON file, without Spark.

    python jobs/classify_table.py --catalog shop/products.parquet --output attributes.parquet

One output row an input row, in the same order, with the columns of `product_attributes` as far as
they make sense here. The last line on standard output is one JSON object. Exit codes are those of
the main job: 3 if too many products could not be read.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from enrich.config import MIN_ROWS_TO_ENFORCE, JobConfig
from enrich.engine import Engine, open_engine
from enrich.errors import StorageFailed, TooManyFailures, first_line
from enrich.files.products import read_products
from enrich.files.targets import prepare_target, require_suffix
from enrich.files.whole import whole_file
from enrich.records import Product
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
    rows = write_parquet(classify(engine, products), engine.spec, output)
    seconds = time.perf_counter() - begin
    summary = {
        "read": rows.total(),
        "answered": rows[True],
        "unreadable": rows[False],
        "seconds": round(seconds, 2),
        "products_per_second": round(rows.total() / seconds, 1) if rows else None,
        "model_version": engine.spec.model_version,
        "output": str(output),
    }
    typer.echo(json.dumps(summary))
    refuse_many_unreadable(rows)


def refuse_many_unreadable(rows: Counter[bool]) -> None:
    """Raises TooManyFailures where the main job would; the file has been written by then."""
    allowed = JobConfig().max_quarantined_share
    if rows.total() >= MIN_ROWS_TO_ENFORCE and rows[False] > allowed * rows.total():
        raise TooManyFailures(
            f"{rows[False]:,} of {rows.total():,} products could not be read, {allowed:.0%} would "
            "be put up with: check the file, the image root and its permissions"
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


def write_parquet(rows: Iterable[dict[str, Any]], spec: EngineSpec, output: Path) -> Counter[bool]:
    """Writes the rows as they come; a reader never sees half a file.

    Returns:
        How many rows were answered (True), and how many were not.
    """
    schema = arrow_schema(spec.attributes)
    answered: Counter[bool] = Counter()
    waiting = iter(rows)
    with whole_file(output) as partial:
        with _told_of_the_disk(output):
            writer = pq.ParquetWriter(partial, schema)
        while some := list(islice(waiting, ROWS_IN_MEMORY)):
            with _told_of_the_disk(output):
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
            answered.update(row["modalities"] is not None for row in some)
        with _told_of_the_disk(output):
            writer.close()
    return answered


@contextmanager
def _told_of_the_disk(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{output} cannot be written: {first_line(error)}") from error


if __name__ == "__main__":
    run_command(main)
