"""Patterns that are printed all over the cloth: dots, flowers, patches and diamonds."""

import numpy as np
from PIL import Image, ImageDraw

from enrich.demo.chance import one_of
from enrich.demo.fabrics.noise import smooth_noise
from enrich.demo.fabrics.shades import RGB, pick_shade
from enrich.demo.fabrics.swatch import Swatch, Texture, disc, ink_values, mix, wave


def printed(swatch: Swatch) -> Texture:
    prints = (_polka_dots, _flowers, _flowers, blobs, _diamonds)
    return one_of(prints, swatch.rng)(swatch)


def _polka_dots(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.12, 0.3)
    radius = rng.uniform(0.2, 0.3)
    row = np.floor(swatch.y / period)
    across = wave(swatch.x + (row % 2) * period / 2, period) - 0.5
    down = wave(swatch.y, period) - 0.5
    dots = across**2 + down**2 < radius**2
    if not swatch.is_multi:
        return mix(swatch.plain(), swatch.inks[1], dots)
    palette = np.array(swatch.inks, dtype=np.float32)
    column = np.floor((swatch.x + (row % 2) * period / 2) / period)
    spots = palette[(column + 2 * row).astype(int) % len(palette)]
    return np.where(dots[..., None], spots, ink_values((248, 246, 240)))


def _flowers(swatch: Swatch) -> Texture:
    """Flowers of five petals with leaves, in rows with jitter so that none crowds the cloth."""
    rng = swatch.rng
    image = Image.fromarray(swatch.plain().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    step = rng.uniform(0.26, 0.46)
    leaf = pick_shade("green", rng)[1]
    petal_inks = swatch.inks[1:]
    reach = swatch.side / swatch.unit / 2
    for row in np.arange(-reach, reach + step, step):
        for column in np.arange(-reach, reach + step, step):
            centre = np.array([column, row]) + rng.uniform(-0.3, 0.3, 2) * step
            ink = one_of(petal_inks, rng)
            size = step * rng.uniform(0.13, 0.2)
            _flower(pen, swatch, centre, size, ink, leaf)
    return np.asarray(image, dtype=np.float32)


def _flower(
    pen: ImageDraw.ImageDraw,
    swatch: Swatch,
    centre: np.ndarray,
    size: float,
    ink: RGB,
    leaf: RGB,
) -> None:
    turn = swatch.rng.uniform(0, 6.3)
    disc(
        pen, swatch, centre + size * 1.9 * np.array([np.cos(turn), np.sin(turn)]), size * 0.6, leaf
    )
    for petal in range(5):
        angle = turn + petal * 2 * np.pi / 5
        disc(pen, swatch, centre + size * np.array([np.cos(angle), np.sin(angle)]), size * 0.7, ink)
    disc(pen, swatch, centre, size * 0.5, swatch.inks[0])


def blobs(swatch: Swatch) -> Texture:
    """Soft-edged patches, as in abstract or camouflage prints."""
    cells = int(swatch.rng.integers(16, 30))
    texture = swatch.plain()
    for ink in swatch.inks[1:]:
        field = smooth_noise(swatch.side, (cells, cells), swatch.rng)
        # Of several colors each must get its share, of one color most must stay.
        texture = mix(texture, ink, field > (0.18 if swatch.is_multi else 0.46))
    return texture


def _diamonds(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.16, 0.34)
    across, down = wave(swatch.x, period), wave(swatch.y, period * 1.3)
    distance = np.abs(across - 0.5) + np.abs(down - 0.5)
    texture = mix(swatch.plain(), swatch.inks[1], np.abs(distance - 0.34) < 0.09)
    for ink in swatch.inks[2:]:
        texture = mix(texture, ink, np.abs(distance - rng.uniform(0.05, 0.9)) < 0.07)
    return texture
