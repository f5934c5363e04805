"""What a pattern is made from, and how it lays colors on a texture."""

from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from enrich.demo.fabrics.shades import RGB

# height x width x 3, float32, 0 to 255; what lies outside is clipped at the end.
Texture = np.ndarray


@dataclass(frozen=True)
class Swatch:
    """What a pattern is made from: inks (the first is the labelled color) on a grid in units."""

    inks: tuple[RGB, ...]
    is_multi: bool
    x: np.ndarray
    y: np.ndarray
    unit: float
    rng: np.random.Generator

    @property
    def side(self) -> int:
        return self.x.size

    def plain(self) -> Texture:
        return np.broadcast_to(ink_values(self.inks[0]), (self.side, self.side, 3)).copy()


def ink_values(color: RGB) -> np.ndarray:
    return np.array(color, dtype=np.float32)


def mix(ground: Texture, color: RGB, share: np.ndarray | float) -> Texture:
    weight = np.asarray(share, dtype=np.float32)[..., None]
    return ground + (ink_values(color) - ground) * weight


def wave(values: np.ndarray, period: float) -> np.ndarray:
    """The place within a period, in [0, 1)."""
    return np.mod(values / period, 1.0)


def disc(
    pen: ImageDraw.ImageDraw, swatch: Swatch, centre: np.ndarray, radius: float, color: RGB
) -> None:
    x, y = centre * swatch.unit + swatch.side / 2
    r = radius * swatch.unit
    pen.ellipse((x - r, y - r, x + r, y + r), fill=color)
