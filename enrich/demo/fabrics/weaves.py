"""Patterns that are woven, knitted or washed into the cloth."""

import numpy as np

from enrich.demo.fabrics.noise import smooth_noise
from enrich.demo.fabrics.shades import luminance
from enrich.demo.fabrics.swatch import Swatch, Texture, mix, wave


def striped(swatch: Swatch) -> Texture:
    rng = swatch.rng
    along = swatch.y if rng.random() < 0.55 else swatch.x
    along = np.broadcast_to(along, (swatch.side, swatch.side))
    if swatch.is_multi:
        palette = np.array(swatch.inks, dtype=np.float32)
        index = np.floor(along / rng.uniform(0.07, 0.16)).astype(int) % len(palette)
        return palette[index]
    period = rng.uniform(0.09, 0.34)
    place = wave(along, period)
    texture = mix(swatch.plain(), swatch.inks[1], place < rng.uniform(0.2, 0.36))
    if rng.random() < 0.35:
        texture = mix(texture, swatch.inks[2], np.abs(place - 0.7) < 0.05)
    return texture


def checked(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.12, 0.36)
    across, down = wave(swatch.x, period), wave(swatch.y, period)
    texture = swatch.plain()
    if not swatch.is_multi and rng.random() < 0.4:
        share = ((across < 0.38) * 0.5 + (down < 0.38) * 0.5) * 0.85
        # Gingham of two strong colors would read as neither: the second is white or black.
        neutral = (246, 246, 244) if luminance(swatch.inks[0]) < 150 else (40, 40, 44)
        return mix(texture, neutral, share)
    for ink in swatch.inks[1:]:
        centre, width = rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.11)
        bands = (np.abs(across - centre) < width) * 0.5 + (np.abs(down - centre) < width) * 0.5
        texture = mix(texture, ink, bands)
    return texture


def colourblocked(swatch: Swatch) -> Texture:
    """Two or three large fields; the labelled color keeps more than half of the product."""
    rng = swatch.rng
    tilt = rng.choice([0.0, 0.0, 0.3, -0.3])
    along = swatch.y + swatch.x * tilt
    if swatch.is_multi:
        palette = np.array(swatch.inks, dtype=np.float32)
        index = np.clip(np.floor((along + 1) * len(palette) / 2), 0, len(palette) - 1)
        return palette[index.astype(int)]
    texture = mix(swatch.plain(), swatch.inks[1], along < rng.uniform(-0.6, -0.45))
    if rng.random() < 0.6:
        texture = mix(texture, swatch.inks[2], along > rng.uniform(0.6, 0.75))
    return texture


def textured(swatch: Swatch) -> Texture:
    """Relief in one color: knit, rib, quilt or a woven figure."""
    rng = swatch.rng
    kind = rng.integers(4)
    if kind == 0:
        across = np.abs(wave(swatch.x, 0.1) - 0.5)
        relief = np.sin(2 * np.pi * (swatch.y / 0.07 + across * 1.6)) - (across < 0.08)
    elif kind == 1:
        relief = np.sin(2 * np.pi * swatch.x / rng.uniform(0.05, 0.09)) + 0 * swatch.y
    elif kind == 2:
        period = rng.uniform(0.2, 0.32)
        down, up = wave(swatch.x + swatch.y, period), wave(swatch.x - swatch.y, period)
        relief = 2.6 * np.minimum(np.sin(np.pi * down), np.sin(np.pi * up)) - 1.4
    else:
        period = rng.uniform(0.1, 0.18)
        figure = np.sin(2 * np.pi * swatch.x / period) * np.sin(2 * np.pi * swatch.y / period)
        relief = np.where(np.abs(figure) > 0.35, np.sign(figure), 0)
    return _with_relief(swatch, relief, 0.2)


def _with_relief(swatch: Swatch, relief: np.ndarray, depth: float) -> Texture:
    # Black has no light to lose: on dark cloth relief has to be added rather than multiplied.
    texture = swatch.plain()
    lift = 20.0 if luminance(swatch.inks[0]) < 70 else 0.0
    return texture * (1 + depth * (relief - 0.4))[..., None] + (relief * lift)[..., None]


def lace(swatch: Swatch) -> Texture:
    """A net of small holes with closed flowers between; the lining is seen through the holes."""
    rng = swatch.rng
    lining = (232, 200, 176) if luminance(swatch.inks[0]) < 130 else (112, 86, 74)
    period = rng.uniform(0.06, 0.09)
    net = np.abs(np.sin(np.pi * (swatch.x + swatch.y) / period)) * np.abs(
        np.sin(np.pi * (swatch.x - swatch.y) / period)
    )
    motif = period * rng.uniform(4.5, 6.5)
    across, down = wave(swatch.x, motif) - 0.5, wave(swatch.y, motif) - 0.5
    angle, distance = np.arctan2(down, across), np.hypot(across, down)
    petals = 0.26 + 0.12 * np.cos(6 * angle)
    holes = np.where(distance < petals, np.abs(distance - petals * 0.55) < 0.025, net > 0.28)
    return mix(swatch.plain(), lining, holes * 0.85)


def washed(swatch: Swatch) -> Texture:
    """Twill that is faded in clouds and along the middle of the legs or the chest."""
    clouds = smooth_noise(swatch.side, (9, 14), swatch.rng) * 0.5
    creases = smooth_noise(swatch.side, (60, 12), swatch.rng) * 0.3
    middle = np.exp(-(((np.abs(swatch.x) - 0.3) / 0.16) ** 2)) * 0.5
    twill = 0.12 * np.sin(2 * np.pi * (swatch.x + swatch.y) / 0.03)
    faded = np.clip(0.16 + clouds + creases + middle, 0, 0.75)
    return mix(swatch.plain(), (236, 238, 242), faded) * (1 + twill)[..., None]
