"""One picture or lettering where the chest is, on plain cloth."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from enrich.demo.chance import one_of
from enrich.demo.fabrics.prints import blobs
from enrich.demo.fabrics.swatch import Swatch, Texture, disc


def chest_print(swatch: Swatch) -> Texture:
    """A plain ground with one picture or lettering where the chest is."""
    image = Image.fromarray(
        blobs(swatch).astype(np.uint8) if swatch.is_multi else swatch.plain().astype(np.uint8)
    )
    pen = ImageDraw.Draw(image)
    middle = swatch.side / 2
    inks = swatch.inks[1:]
    kind = swatch.rng.integers(3)
    if kind != 0:
        _emblem(pen, swatch)
    if kind != 1:
        words = ("CALDER 86", "NORTH", "WILD", "ROUTE 9", "Hello", "TEAM", "SURF", "1974", "LUNE")
        text = one_of(words, swatch.rng)
        size = swatch.unit * min(0.5, 1.5 / len(text))
        font = ImageFont.load_default(size=max(size, 6))
        top = middle - swatch.unit * (0.35 if kind == 0 else 0.72)
        pen.text((middle, top), text, fill=inks[0], font=font, anchor="mm", stroke_width=1)
    return np.asarray(image, dtype=np.float32)


def _emblem(pen: ImageDraw.ImageDraw, swatch: Swatch) -> None:
    """Overlapping discs, rays or bars: something drawn, of about half the chest's width."""
    rng = swatch.rng
    for _ in range(int(rng.integers(5, 12))):
        ink = one_of(swatch.inks[1:], rng)
        x, y = rng.uniform(-0.24, 0.24), rng.uniform(-0.45, 0.05)
        if rng.random() < 0.6:
            disc(pen, swatch, np.array([x, y]), rng.uniform(0.04, 0.14), ink)
        else:
            ends = np.array([[x, y], rng.uniform((-0.28, -0.48), (0.28, 0.08))])
            flat = (ends * swatch.unit + swatch.side / 2).ravel().tolist()
            pen.line(flat, fill=ink, width=max(1, int(swatch.unit * 0.04)))
