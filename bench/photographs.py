"""Photograph-like JPEGs: what a shop's pictures cost to decode, without a shop's pictures.

Noise of all scales, as light falls on things (the amplitudes of natural images fall with the
frequency, Field 1987), fine cloth in the middle, a calmer backdrop around it, and the grain of a
camera. Flat areas would decode faster than any photograph.
"""

import io

import numpy as np
from PIL import Image

QUALITY = 85
_SEED = 0
_COARSEST_PX = 4
_TILES = 8  # base pictures that all others are cut from: drawing them all would take minutes


class Photographer:
    """Makes as many different pictures of `side_px` as wanted, the same ones every time."""

    def __init__(self, side_px: int) -> None:
        self._side_px = side_px
        self._random = np.random.default_rng((_SEED, side_px))
        self._bases = [self._draw() for _ in range(_TILES)]

    def take(self) -> bytes:
        """Returns the next picture as JPEG, 4:2:0, as shops serve them."""
        base = self._bases[self._random.integers(_TILES)]
        shift = tuple(self._random.integers(-self._side_px // 10, self._side_px // 10, 2))
        light = self._random.uniform(0.8, 1.1, 3).astype(np.float32)
        pixels = np.roll(base, shift, (0, 1)) * light
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    def _draw(self) -> np.ndarray:
        side, random = self._side_px, self._random
        brightness, tint = self._cloud(1), self._cloud(3)
        product = _disc(side)
        contrast = 14 + 26 * product
        pixels = 150 + 60 * (1 - product) + contrast * (brightness + 0.35 * tint)
        grain = random.standard_normal((side, side, 1), dtype=np.float32)
        return pixels + 2.0 * grain

    def _cloud(self, channels: int) -> np.ndarray:
        """Returns noise of all scales around 0, (side, side, channels)."""
        side = self._side_px
        total = np.zeros((side, side, channels), dtype=np.float32)
        cells, amplitude = _COARSEST_PX, 1.0
        while cells < side:
            noise = self._random.standard_normal((channels, cells, cells), dtype=np.float32)
            planes = [
                Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)
                for plane in noise
            ]
            total += amplitude * np.stack([np.asarray(plane) for plane in planes], axis=2)
            cells, amplitude = 2 * cells, amplitude * 0.62
        return total


def _disc(side: int) -> np.ndarray:
    """Returns 1 where the product is, 0 where the backdrop is, with a soft edge."""
    across = np.linspace(-1, 1, side, dtype=np.float32)
    distance = np.hypot(across[:, None], across[None, :])
    return np.clip((0.8 - distance) / 0.1, 0, 1)[:, :, None]
