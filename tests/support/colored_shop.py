"""A labelled catalog of small colored pictures: quick to write, and its colors can be learnt."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SHADES = {
    "black": (25, 25, 28),
    "blue": (40, 70, 180),
    "brown": (110, 70, 40),
    "green": (40, 130, 60),
    "grey": (128, 128, 130),
    "orange": (235, 130, 30),
    "pink": (240, 150, 180),
    "purple": (110, 50, 140),
    "red": (200, 30, 35),
    "white": (240, 240, 238),
    "yellow": (240, 210, 50),
}
PATTERNS = ("solid", "striped", "checked", None)
STYLES = ("casual", "casual", "formal", "sports")
ARTICLES = ("shirt", "dress", "jacket", "skirt", "trousers", "cardigan", "handbag", "sneakers")
SIDE_PX = 96
TWIN_EVERY = 8


def write_colored_shop(folder: Path, products: int, *, seed: int = 0) -> None:
    """Write `products.parquet`, `labels.parquet` and `images/`.

    Every eighth product shows the one before again: both are of one group.
    """
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(products):
        is_twin = number % TWIN_EVERY == TWIN_EVERY - 1
        group = number - 1 if is_twin else number
        random = np.random.default_rng([seed, group])
        color, pattern, style, article = (
            choices[random.integers(len(choices))]
            for choices in (tuple(SHADES), PATTERNS, STYLES, ARTICLES)
        )
        path = f"images/p{number:04}.jpg"
        _draw(SHADES[color], pattern, np.random.default_rng([seed, number, 1])).save(folder / path)
        named = color if random.random() < 0.6 else f"size {random.integers(34, 48)}"
        rows.append(
            {
                "product_id": f"p{number:04}",
                "title": f"{pattern or 'everyday'} {article} {named}",
                "description": f"A {style} {article}, number {group} of {seed}.",
                "image_path": path,
                "group_id": f"{seed}-{group:04}",
                "color": color,
                "pattern": pattern,
                "style": style,
            }
        )
    table = pd.DataFrame(rows)
    table.iloc[:, :4].to_parquet(folder / "products.parquet")
    table.drop(columns=["title", "description", "image_path"]).to_parquet(folder / "labels.parquet")


def _draw(
    shade: tuple[int, int, int], pattern: str | None, random: np.random.Generator
) -> Image.Image:
    pixels = np.full((SIDE_PX, SIDE_PX, 3), shade, dtype=np.float32)
    bands = (np.arange(SIDE_PX) // 8 % 3 == 0)[:, None, None]
    if pattern in ("striped", "checked"):
        pixels = np.where(bands, pixels + 60, pixels)
    if pattern == "checked":
        pixels = np.where(bands.transpose(1, 0, 2), pixels - 60, pixels)
    pixels += random.normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
