"""Invents a product: its goods, its texts and its picture.

Each product has random numbers of its own, so product 12 is the same in a catalog of 20 or 2,000.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from enrich.demo.drawings.repertoire import DRAWINGS, draw_product, reach_of
from enrich.demo.fabrics.cloth import weave_cloth
from enrich.demo.formats import encode
from enrich.demo.goods import Goods, choose_goods
from enrich.demo.photographs import choose_size, photograph
from enrich.demo.wording import word_description, word_title


@dataclass(frozen=True)
class DrawnProduct:
    """One row of the catalog, its truth, and the bytes of its picture (None: no file)."""

    product_id: str | None
    title: str | None
    description: str | None
    image_path: str | None
    group_id: str
    goods: Goods
    image_bytes: bytes | None


def make_product(index: int, *, seed: int) -> DrawnProduct:
    """Invents product number `index`; every eighth is a second photograph of the one before."""
    model = index - 1 if index % 8 == 7 else index
    goods = choose_goods(np.random.default_rng([seed, model, 0]))
    picture_rng = np.random.default_rng([seed, index, 1])
    picture, alpha, word = _picture(goods, np.random.default_rng([seed, model, 2]), picture_rng)
    image_bytes, suffix = encode(picture, alpha, goods.color, picture_rng)
    text_rng = np.random.default_rng([seed, model, 3])
    return DrawnProduct(
        product_id=f"demo-{index:05d}",
        title=word_title(goods, word, text_rng),
        description=word_description(goods, word, text_rng),
        image_path=f"images/demo-{index:05d}{suffix}",
        group_id=f"demo-{seed}-{model:05d}",
        goods=goods,
        image_bytes=image_bytes,
    )


def _picture(
    goods: Goods, cloth_rng: np.random.Generator, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image, str]:
    """Draws and photographs the goods: the picture, its transparency and the shade's word."""
    size = choose_size(rng)
    kind = goods.article.drawing
    is_worn = DRAWINGS[kind].can_be_worn and rng.random() < 0.4
    reach = reach_of(kind, is_worn=is_worn)
    # Twice the pixels that will be kept; more than 900 are not worth their time.
    side = int(np.clip(2 * max(size), 320, 900))
    unit = side / 2 / reach
    cloth = weave_cloth(
        goods.color,
        goods.pattern,
        side=side,
        unit=unit,
        is_top=DRAWINGS[kind].is_top,
        rng=cloth_rng,
    )
    pixels, alpha = draw_product(kind, cloth, unit=unit, is_worn=is_worn, rng=rng)
    picture, transparency = photograph(pixels, alpha, size, on_edge=is_worn, rng=rng)
    return picture, transparency, cloth.word
