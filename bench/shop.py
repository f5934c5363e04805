"""A catalog of photographs with texts as shops write them, all of it invented and seeded."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.photographs import Photographer
from enrich.demo.goods import choose_goods
from enrich.demo.wording import word_description, word_title


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
    goods = choose_goods(random)
    return word_title(goods, goods.color, random), word_description(goods, goods.color, random)
