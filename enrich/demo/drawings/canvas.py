"""The canvas on which a product is painted, and the outlines that it is painted with."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from enrich.demo.fabrics.cloth import Cloth
from enrich.demo.fabrics.noise import smooth_noise
from enrich.demo.fabrics.shades import RGB, luminance, scaled

Point = tuple[float, float]
Points = Sequence[Point]
WHITE: RGB = (243, 243, 241)
DARK: RGB = (38, 36, 38)
STEEL: RGB = (186, 189, 194)
BRASS: RGB = (204, 168, 92)


class Canvas:
    """A transparent square on which a product is painted part by part, with soft shading.

    Transparency is kept beside the pixels, so that a resize does not bleed black into the rim.
    """

    def __init__(self, cloth: Cloth, unit: float, angle: float, rng: np.random.Generator) -> None:
        self.cloth = cloth
        self.unit = unit
        self.rng = rng
        self.inside = scaled(cloth.shade, 0.6)  # what is seen through a neckline
        self.side = cloth.texture.width
        self.pixels = Image.new("RGB", (self.side, self.side), cloth.shade)
        self.alpha = Image.new("L", (self.side, self.side), 0)
        self._turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        folds = 244 + 14 * smooth_noise(self.side, (5, 11), rng)
        self._folds = Image.fromarray(np.clip(folds, 0, 255).astype(np.uint8))

    def fill(
        self, points: Points, paint: RGB | None = None, *, cut: float = 0.12, relief: float = 0.3
    ) -> None:
        """Fills a closed shape with the cloth, or with `paint`.

        `cut` rounds the corners (0 none, 0.25 as round as can be); `relief`, 0 to 1, darkens the
        rim.
        """
        outline = _rounded(points, cut)
        pixels = np.asarray(outline) @ self._turn * self.unit + self.side / 2
        left, top = np.floor(np.clip(pixels.min(axis=0), 0, self.side - 2)).astype(int)
        right, bottom = np.ceil(np.clip(pixels.max(axis=0), 1, self.side - 1)).astype(int) + 1
        if right - left < 2 or bottom - top < 2:
            return
        box = (int(left), int(top), int(right), int(bottom))
        mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
        corners = (pixels - (left, top)).ravel().tolist()
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        patch = Image.new("RGB", mask.size, paint) if paint else self.cloth.texture.crop(box)
        if relief:
            shading = ImageChops.multiply(self._rim_shade(mask, relief), self._folds.crop(box))
            patch = ImageChops.multiply(patch, Image.merge("RGB", (shading,) * 3))
            if luminance(paint or self.cloth.shade) < 70:
                # Black cannot be darkened: its folds are seen by the light they throw back.
                light = shading.point(lambda value: int(max(0, value - 165) * 0.42))
                patch = ImageChops.screen(patch, Image.merge("RGB", (light,) * 3))
        self.pixels.paste(patch, box, mask)
        self.alpha.paste(255, box, mask)

    def oval(
        self,
        centre: Point,
        radii: Point,
        paint: RGB | None = None,
        *,
        relief: float = 0.3,
    ) -> None:
        """Fills an ellipse."""
        around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        self.fill(_on_ellipse(centre, radii, around), paint, cut=0, relief=relief)

    def line(self, points: Points, paint: RGB, width: float = 0.018) -> None:
        """Draws a line; where it leaves the product it becomes part of it."""
        pixels = np.asarray(points) @ self._turn * self.unit + self.side / 2
        flat, thick = pixels.ravel().tolist(), max(1, round(width * self.unit))
        ImageDraw.Draw(self.pixels).line(flat, fill=paint, width=thick, joint="curve")
        ImageDraw.Draw(self.alpha).line(flat, fill=255, width=thick, joint="curve")

    def ring(self, centre: Point, radii: Point, paint: RGB, width: float, arc: Point) -> None:
        """Draws part of an ellipse as a line; `arc` is its start and end in degrees."""
        around = np.radians(np.linspace(*arc, 40))
        self.line(_on_ellipse(centre, radii, around), paint, width)

    def _rim_shade(self, mask: Image.Image, relief: float) -> Image.Image:
        # Blurring a sixth of the size is as soft as blurring the whole, and 30 times as fast.
        small = mask.resize((max(2, mask.width // 6), max(2, mask.height // 6)))
        soft = small.filter(ImageFilter.GaussianBlur(max(1.0, self.unit / 55)))
        lifted = soft.point(lambda value: int(255 * (1 - relief) + relief * min(255, value * 1.25)))
        return lifted.resize(mask.size)


def _on_ellipse(centre: Point, radii: Point, around: np.ndarray) -> list[Point]:
    """Returns the points at angles in radians."""
    x = centre[0] + radii[0] * np.cos(around)
    y = centre[1] + radii[1] * np.sin(around)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _rounded(points: Points, cut: float) -> Points:
    """Cuts the corners of a closed outline twice (Chaikin's algorithm)."""
    if cut == 0:
        return points
    outline = np.asarray(points, dtype=float)
    for _ in range(2):
        following = np.roll(outline, -1, axis=0)
        near = outline * (1 - cut) + following * cut
        far = outline * cut + following * (1 - cut)
        outline = np.stack([near, far], axis=1).reshape(-1, 2)
    corners: list[Point] = [(float(x), float(y)) for x, y in outline]
    return corners


def mirrored(half: Points) -> list[Point]:
    """Closes a right half, given from top to bottom, with its mirror image."""
    return [*half, *((-x, y) for x, y in reversed(half))]


def flipped(points: Points) -> list[Point]:
    return [(-x, y) for x, y in points]


def both_sides(canvas: Canvas, points: Points, paint: RGB | None = None) -> None:
    canvas.fill(points, paint)
    canvas.fill(flipped(points), paint)
