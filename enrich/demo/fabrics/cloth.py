"""Weaves the cloth of a color and a pattern."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from enrich.demo.fabrics.chest_print import chest_print
from enrich.demo.fabrics.glitter import embellished, metal_sheen
from enrich.demo.fabrics.inks import pick_inks, seam_for
from enrich.demo.fabrics.prints import blobs, printed
from enrich.demo.fabrics.shades import RGB
from enrich.demo.fabrics.swatch import Swatch, Texture
from enrich.demo.fabrics.weaves import checked, colourblocked, lace, striped, textured, washed

METALS = frozenset({"gold", "silver", "bronze"})


@dataclass(frozen=True)
class Cloth:
    """What a drawing paints with: a texture as large as the canvas, and plain colors to match."""

    texture: Image.Image
    shade: RGB
    seam: RGB
    accent: RGB
    word: str


PATTERNS: dict[str, Callable[[Swatch], Texture]] = {
    "checked": checked,
    "colourblocked": colourblocked,
    "embellished": embellished,
    "lace": lace,
    "printed": printed,
    "striped": striped,
    "textured": textured,
    "washed": washed,
}


def weave_cloth(
    color: str,
    pattern: str | None,
    *,
    side: int,
    unit: float,
    is_top: bool,
    rng: np.random.Generator,
) -> Cloth:
    """Makes a square texture of `side` pixels with `unit` pixels to a unit.

    A pattern of None (a watch has none) is plain material. `is_top` allows a print that sits on
    the chest alone.
    """
    is_multi = color == "multi"
    word, inks = pick_inks(color, rng)
    line = ((np.arange(side, dtype=np.float32) - side / 2) / unit).astype(np.float32)
    swatch = Swatch(inks, is_multi, line[None, :], line[:, None], unit, rng)
    if pattern is None or pattern == "solid":
        # A product of many colors without a pattern label is still not of one color.
        texture = blobs(swatch) if is_multi else swatch.plain()
    elif pattern == "printed" and is_top and rng.random() < 0.45:
        texture = chest_print(swatch)
    else:
        texture = PATTERNS[pattern](swatch)
    if color in METALS:
        texture = texture * metal_sheen(swatch)[:, :, None]
    pixels = np.clip(texture, 0, 255).astype(np.uint8)
    shade = inks[0]
    return Cloth(Image.fromarray(pixels), shade, seam_for(shade), inks[1], word)
