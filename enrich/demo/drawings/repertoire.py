"""All that can be drawn, by name, and the one function that draws it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from enrich.demo.drawings.accessories import (
    draw_bangle,
    draw_belt,
    draw_cap,
    draw_earrings,
    draw_scarf,
    draw_sunglasses,
    draw_tie,
    draw_watch,
)
from enrich.demo.drawings.bags import (
    draw_backpack,
    draw_clutch,
    draw_duffel,
    draw_handbag,
    draw_trolley,
    draw_wallet,
)
from enrich.demo.drawings.bottoms import (
    draw_jeans,
    draw_shorts,
    draw_skirt,
    draw_track_pants,
    draw_trousers,
)
from enrich.demo.drawings.canvas import Canvas
from enrich.demo.drawings.footwear import (
    draw_flip_flop,
    draw_formal_shoe,
    draw_heel,
    draw_loafer,
    draw_sneaker,
    draw_socks,
)
from enrich.demo.drawings.long_garments import draw_dress, draw_kurta, draw_sari
from enrich.demo.drawings.person import WORN_REACH, crop_person, draw_person
from enrich.demo.drawings.tops import (
    draw_blazer,
    draw_folded_shirt,
    draw_jacket,
    draw_polo,
    draw_shirt,
    draw_shirt_with_tie,
    draw_sweater,
    draw_t_shirt,
    draw_top,
    draw_track_jacket,
)
from enrich.demo.fabrics.cloth import Cloth


@dataclass(frozen=True)
class Drawing:
    """How a kind of goods is drawn, whether a model may wear it, and how many units it reaches."""

    paint: Callable[[Canvas], None]
    can_be_worn: bool = False
    bare_legs: bool = False
    is_top: bool = False
    reach: float = 1.25


DRAWINGS: dict[str, Drawing] = {
    "backpack": Drawing(draw_backpack),
    "bangle": Drawing(draw_bangle),
    "belt": Drawing(draw_belt),
    "blazer": Drawing(draw_blazer, can_be_worn=True),
    "cap": Drawing(draw_cap),
    "clutch": Drawing(draw_clutch),
    "dress": Drawing(draw_dress, can_be_worn=True, bare_legs=True, reach=1.75),
    "duffel": Drawing(draw_duffel),
    "earrings": Drawing(draw_earrings),
    "flip flop": Drawing(draw_flip_flop),
    "folded shirt": Drawing(draw_folded_shirt),
    "formal shoe": Drawing(draw_formal_shoe),
    "handbag": Drawing(draw_handbag),
    "heel": Drawing(draw_heel),
    "jacket": Drawing(draw_jacket, can_be_worn=True),
    "jeans": Drawing(draw_jeans),
    "kurta": Drawing(draw_kurta, can_be_worn=True, reach=1.5),
    "loafer": Drawing(draw_loafer),
    "polo": Drawing(draw_polo, can_be_worn=True, is_top=True),
    "sari": Drawing(draw_sari, can_be_worn=True, reach=1.8),
    "scarf": Drawing(draw_scarf),
    "shirt": Drawing(draw_shirt, can_be_worn=True),
    "shirt with tie": Drawing(draw_shirt_with_tie, can_be_worn=True),
    "shorts": Drawing(draw_shorts),
    "skirt": Drawing(draw_skirt),
    "sneaker": Drawing(draw_sneaker),
    "socks": Drawing(draw_socks),
    "sunglasses": Drawing(draw_sunglasses),
    "sweater": Drawing(draw_sweater, can_be_worn=True),
    "t-shirt": Drawing(draw_t_shirt, can_be_worn=True, is_top=True),
    "tie": Drawing(draw_tie),
    "top": Drawing(draw_top, can_be_worn=True, is_top=True),
    "track jacket": Drawing(draw_track_jacket, can_be_worn=True),
    "track pants": Drawing(draw_track_pants),
    "trolley": Drawing(draw_trolley),
    "trousers": Drawing(draw_trousers),
    "wallet": Drawing(draw_wallet),
    "watch": Drawing(draw_watch),
}


def reach_of(kind: str, *, is_worn: bool) -> float:
    """How many units a drawing reaches from the middle; a model's head and legs reach further."""
    return WORN_REACH if is_worn else DRAWINGS[kind].reach


def draw_product(
    kind: str, cloth: Cloth, *, unit: float, is_worn: bool, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    """Draws one product and cuts it out: its pixels and its transparency, of the same size."""
    drawing = DRAWINGS[kind]
    canvas = Canvas(cloth, unit, rng.normal(0, 0.035), rng)
    if is_worn:
        draw_person(canvas, bare_legs=drawing.bare_legs)
    drawing.paint(canvas)
    if is_worn:
        crop_person(canvas)
    box = canvas.alpha.getbbox()
    pixels, alpha = canvas.pixels.crop(box), canvas.alpha.crop(box)
    # Lettering must stay readable, so what may have a chest print is never mirrored.
    if drawing.is_top or rng.random() < 0.6:
        return pixels, alpha
    mirror = Image.Transpose.FLIP_LEFT_RIGHT
    return pixels.transpose(mirror), alpha.transpose(mirror)
