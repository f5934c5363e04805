"""What glitters: sequins and beads on the cloth, and the sheen of metal."""

import numpy as np
from PIL import Image, ImageDraw

from enrich.demo.fabrics.shades import pick_shade
from enrich.demo.fabrics.swatch import Swatch, Texture, disc, wave


def embellished(swatch: Swatch) -> Texture:
    return _sequins(swatch) if swatch.rng.random() < 0.6 else _beads(swatch)


def _sequins(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.045, 0.07)
    row = np.floor(swatch.y / period).astype(int)
    column = np.floor((swatch.x + (row % 2) * period / 2) / period).astype(int)
    shine = rng.choice([0.55, 0.8, 1.0, 1.25, 2.2], size=(256, 256), p=[0.2, 0.3, 0.3, 0.12, 0.08])
    bright = shine[row % 256, column % 256]
    across = wave(swatch.x + (row % 2) * period / 2, period) - 0.5
    rim = np.hypot(across, wave(swatch.y, period) - 0.5) > 0.46
    bright = np.where(rim, bright * 0.55, bright).astype(np.float32)
    glint = np.clip(bright - 1.5, 0, 1) * 110
    return swatch.plain() * bright[..., None] + glint[..., None]


def _beads(swatch: Swatch) -> Texture:
    """Rows and rosettes of gold or silver beads on plain cloth."""
    metal = pick_shade("gold" if swatch.rng.random() < 0.7 else "silver", swatch.rng)[1]
    image = Image.fromarray(swatch.plain().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for row in (-0.62, -0.5, 0.78, 0.9):
        for x in np.arange(-0.8, 0.8, 0.075):
            disc(pen, swatch, np.array([x, row]), 0.026, metal)
    for x in np.arange(-0.75, 0.8, 0.3):
        for y in np.arange(-0.3, 0.7, 0.3):
            for angle in np.arange(0, 6.2, 1.05):
                around = np.array([x + 0.06 * np.cos(angle), y + 0.06 * np.sin(angle)])
                disc(pen, swatch, around, 0.022, metal)
    return np.asarray(image, dtype=np.float32)


def metal_sheen(swatch: Swatch) -> np.ndarray:
    """Bright and dark bands as on polished metal or satin, around 1."""
    rng = swatch.rng
    angle, period, phase = rng.uniform(-0.6, 0.6), rng.uniform(0.5, 1.0), rng.uniform(0, 6.3)
    along = (swatch.x + swatch.y * angle) * 2 * np.pi / period + phase
    return 0.92 + 0.18 * np.sin(along) + 0.22 * np.clip(np.sin(along * 1.7 + 1), 0.5, 1) ** 4
