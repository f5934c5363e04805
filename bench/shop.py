"""A catalog of invented photographs with texts of the demo catalog, mixed by a seed."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.photographs import Photographer

DEMO = Path(__file__).parents[1] / "demo"


def write_shop(folder: Path, products: int, side_px: int) -> Path:
    """Writes `images/` and returns the `products.parquet` beside it; what is there is kept."""
    file = folder / "products.parquet"
    if file.exists():
        return file
    (folder / "images").mkdir(parents=True, exist_ok=True)
    photographer = Photographer(side_px)
    rows = []
    for number in range(products):
        image_path = f"images/{number:06d}.jpg"
        (folder / image_path).write_bytes(photographer.take())
        title, description = word_texts(number)
        rows.append(
            {
                "product_id": f"{number:06d}",
                "title": title,
                "description": description,
                "image_path": image_path,
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def word_texts(number: int, seed: int = 0) -> tuple[str, str]:
    """Returns a product's title and description."""
    random = np.random.default_rng((seed, number))
    title, description = (texts[random.integers(len(texts))] for texts in _demo_texts())
    # No two products share a text: an engine may remember the last ones.
    return title, f"{description} Article {number} of list {seed}."


@cache
def _demo_texts() -> tuple[list[str], list[str]]:
    """Return the titles and the descriptions of the demo catalog."""
    with (DEMO / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["title"] for row in rows], [row["description"] for row in rows]
