"""Garments and goods drawn with polygons: each drawing is a function that paints on a canvas.

Coordinates are in units, x to the right and y down; a product reaches from about -1 to 1. Knows
cloth, and nothing of labels, backgrounds or files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from enrich.demo.fabrics import RGB, Cloth, luminance, scaled, smooth_noise

Point = tuple[float, float]
Points = Sequence[Point]

WHITE: RGB = (243, 243, 241)
DARK: RGB = (38, 36, 38)
STEEL: RGB = (186, 189, 194)
BRASS: RGB = (204, 168, 92)
SKINS: tuple[RGB, ...] = ((232, 194, 166), (206, 156, 120), (160, 112, 80), (112, 76, 54))


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
        x = centre[0] + radii[0] * np.cos(around)
        y = centre[1] + radii[1] * np.sin(around)
        self.fill(list(zip(x.tolist(), y.tolist(), strict=True)), paint, cut=0, relief=relief)

    def line(self, points: Points, paint: RGB, width: float = 0.018) -> None:
        """Draws a line; what lies off the product so far becomes part of it."""
        pixels = np.asarray(points) @ self._turn * self.unit + self.side / 2
        flat, thick = pixels.ravel().tolist(), max(1, round(width * self.unit))
        ImageDraw.Draw(self.pixels).line(flat, fill=paint, width=thick, joint="curve")
        ImageDraw.Draw(self.alpha).line(flat, fill=255, width=thick, joint="curve")

    def ring(self, centre: Point, radii: Point, paint: RGB, width: float, arc: Point) -> None:
        """Draws part of an ellipse as a line; `arc` is its start and end in degrees."""
        around = np.radians(np.linspace(*arc, 40))
        x = centre[0] + radii[0] * np.cos(around)
        y = centre[1] + radii[1] * np.sin(around)
        self.line(list(zip(x.tolist(), y.tolist(), strict=True)), paint, width)

    def _rim_shade(self, mask: Image.Image, relief: float) -> Image.Image:
        # Blurring a sixth of the size is as soft as blurring the whole, and 30 times as fast.
        small = mask.resize((max(2, mask.width // 6), max(2, mask.height // 6)))
        soft = small.filter(ImageFilter.GaussianBlur(max(1.0, self.unit / 55)))
        lifted = soft.point(lambda value: int(255 * (1 - relief) + relief * min(255, value * 1.25)))
        return lifted.resize(mask.size)


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


def _mirrored(half: Points) -> list[Point]:
    """Closes a right half, given from top to bottom, with its mirror image."""
    return [*half, *((-x, y) for x, y in reversed(half))]


def _flipped(points: Points) -> list[Point]:
    return [(-x, y) for x, y in points]


def _both_sides(canvas: Canvas, points: Points, paint: RGB | None = None) -> None:
    canvas.fill(points, paint)
    canvas.fill(_flipped(points), paint)


def _person(canvas: Canvas, legs: RGB, *, bare_legs: bool = False) -> None:
    """A model behind a garment that is drawn over them afterwards."""
    rng = canvas.rng
    skin = SKINS[int(rng.integers(len(SKINS)))]
    hair = ((46, 34, 30), (30, 26, 26), (84, 56, 36))[int(rng.integers(3))]
    if rng.random() < 0.5:
        canvas.fill([(-0.3, -1.6), (0.3, -1.6), (0.36, -0.75), (-0.36, -0.75)], hair)
    leg = [(0.02, 0.6), (0.5, 0.6), (0.44, 1.55), (0.4, 2.1), (0.16, 2.1), (0.1, 1.4)]
    _both_sides(canvas, leg, skin if bare_legs else legs)
    arm = [(0.5, -0.82), (0.68, -0.6), (0.86, 0.1), (0.82, 0.72), (0.7, 0.74), (0.68, 0.15)]
    _both_sides(canvas, arm, skin)
    shoulders = [(0.1, -1.25), (0.13, -0.98), (0.46, -0.86), (0.44, -0.4), (0.3, 0.1)]
    canvas.fill(_mirrored(shoulders), skin, relief=0.15)
    canvas.inside = scaled(skin, 0.96)
    canvas.oval((0, -1.4), (0.22, 0.3), skin)
    canvas.fill([(-0.24, -1.4), (-0.2, -1.74), (0.2, -1.74), (0.24, -1.4), (0, -1.58)], hair)
    for x in (-0.085, 0.085):
        canvas.oval((x, -1.4), (0.03, 0.014), DARK, relief=0)
    canvas.line([(-0.06, -1.23), (0.06, -1.23)], (170, 84, 80), 0.025)


def _sleeves(canvas: Canvas, length: str) -> None:
    """Sleeves of length "short", "elbow" or "long", drawn before the body covers their seam."""
    ends: dict[str, Points] = {
        "short": [(0.5, -0.86), (0.68, -0.74), (0.98, -0.3), (0.72, -0.14), (0.5, -0.4)],
        "elbow": [(0.5, -0.86), (0.68, -0.74), (0.96, -0.02), (0.72, 0.08), (0.5, -0.4)],
        "long": [(0.5, -0.86), (0.68, -0.74), (0.88, 0.0), (0.92, 0.66), (0.7, 0.68), (0.5, -0.3)],
    }
    sleeve = ends[length]
    _both_sides(canvas, sleeve)
    for side in (1, -1):
        outer, inner = np.array(sleeve[-3]), np.array(sleeve[-2])
        # The corners of a sleeve are rounded: a seam from corner to corner would stick out.
        hem = [outer + (inner - outer) * share for share in (0.16, 0.84)]
        canvas.line([(float(x) * side, float(y) - 0.03) for x, y in hem], canvas.cloth.seam)
        canvas.line([(0.56 * side, -0.8), (0.54 * side, -0.36)], canvas.cloth.seam, 0.014)


def _body(canvas: Canvas, hem: float, *, flare: float = 0.0, waist: float = 0.52) -> None:
    """The trunk of an upper garment, from the shoulders to `hem`."""
    hem_half = 0.55 + flare
    half = [(0.1, -0.9), (0.24, -0.94), (0.56, -0.8), (0.53, -0.4), (waist, 0.1), (hem_half, hem)]
    canvas.fill(_mirrored([*half, (0.0, hem + 0.03)]), cut=0.07)
    canvas.line([(-hem_half + 0.03, hem - 0.07), (hem_half - 0.03, hem - 0.07)], canvas.cloth.seam)


def _neckline(canvas: Canvas, kind: str) -> None:
    """An opening of kind "round", "v" or "deep": the inside of the back is seen through it."""
    depth = {"round": 0.13, "v": 0.34, "deep": 0.24}[kind]
    middle = (0.0, -0.92 + depth)
    if kind == "v":
        canvas.fill([(-0.2, -0.95), (0.2, -0.95), middle], canvas.inside, cut=0.04, relief=0)
        canvas.line([(-0.2, -0.93), middle, (0.2, -0.93)], canvas.cloth.seam, 0.03)
        return
    bowl = np.linspace(0, np.pi, 20)
    rim = [(float(0.2 * np.cos(a)), float(-0.91 + depth * np.sin(a))) for a in bowl]
    canvas.fill([*rim, (-0.14, -0.94), (0.14, -0.94)], canvas.inside, cut=0, relief=0)
    canvas.ring((0, -0.92), (0.22, depth + 0.02), canvas.cloth.seam, 0.03, (0, 180))


def _collar(canvas: Canvas, paint: RGB | None = None) -> None:
    leaf = [(0.02, -0.82), (0.06, -0.98), (0.2, -1.02), (0.27, -0.88), (0.16, -0.68)]
    _both_sides(canvas, leaf, paint)
    for side in (1, -1):
        canvas.line([(x * side, y) for x, y in leaf[-2:] + leaf[:1]], canvas.cloth.seam)


def _buttons(canvas: Canvas, top: float, bottom: float, count: int) -> None:
    seam = canvas.cloth.seam
    button = WHITE if luminance(canvas.cloth.shade) < 120 else scaled(seam, 0.7)
    canvas.line([(-0.05, top), (-0.05, bottom)], seam, 0.012)
    canvas.line([(0.05, top), (0.05, bottom)], seam, 0.012)
    for y in np.linspace(top + 0.06, bottom - 0.08, count):
        canvas.oval((0, float(y)), (0.022, 0.022), button, relief=0)


def draw_t_shirt(canvas: Canvas) -> None:
    _sleeves(canvas, "short")
    _body(canvas, 0.92)
    _neckline(canvas, "v" if canvas.rng.random() < 0.25 else "round")


def draw_polo(canvas: Canvas) -> None:
    _sleeves(canvas, "short")
    _body(canvas, 0.9)
    _collar(canvas)
    _buttons(canvas, -0.8, -0.35, 3)


def draw_shirt(canvas: Canvas) -> None:
    _sleeves(canvas, "long" if canvas.rng.random() < 0.7 else "short")
    _body(canvas, 0.95)
    _buttons(canvas, -0.78, 0.95, 7)
    canvas.line(
        [(0.16, -0.36), (0.42, -0.36), (0.42, -0.06), (0.29, 0.0), (0.16, -0.06), (0.16, -0.36)],
        canvas.cloth.seam,
        0.014,
    )
    _collar(canvas)


def draw_shirt_with_tie(canvas: Canvas) -> None:
    draw_shirt(canvas)
    tie = scaled(canvas.cloth.accent, 0.9)
    canvas.fill([(-0.07, -0.84), (0.07, -0.84), (0.05, -0.72), (-0.05, -0.72)], tie)
    canvas.fill([(-0.05, -0.72), (0.05, -0.72), (0.1, 0.2), (0, 0.32), (-0.1, 0.2)], tie, cut=0.03)


def draw_folded_shirt(canvas: Canvas) -> None:
    """A shirt as it lies in its box."""
    canvas.fill([(-0.72, -0.82), (0.72, -0.82), (0.74, 0.95), (-0.74, 0.95)], cut=0.03)
    canvas.oval((0, -0.84), (0.28, 0.14), scaled(canvas.cloth.shade, 0.55), relief=0)
    _buttons(canvas, -0.7, 0.95, 6)
    canvas.line(
        [(0.2, -0.3), (0.56, -0.3), (0.56, 0.12), (0.2, 0.12), (0.2, -0.3)], canvas.cloth.seam
    )
    leaf = [(0.0, -0.68), (0.1, -0.94), (0.34, -0.96), (0.46, -0.74), (0.28, -0.5)]
    _both_sides(canvas, leaf)
    for side in (1, -1):
        canvas.line([(x * side, y) for x, y in leaf[-2:] + leaf[:1]], canvas.cloth.seam)


def draw_top(canvas: Canvas) -> None:
    """A sleeveless or short-sleeved top for women, with a waist."""
    if canvas.rng.random() < 0.5:
        _sleeves(canvas, "short")
    _body(canvas, 0.72, waist=0.43, flare=-0.02)
    _neckline(canvas, "deep")


def draw_sweater(canvas: Canvas) -> None:
    _sleeves(canvas, "long")
    _body(canvas, 0.85, waist=0.55)
    _neckline(canvas, "v" if canvas.rng.random() < 0.5 else "round")
    canvas.line([(-0.54, 0.72), (0.54, 0.72)], canvas.cloth.seam, 0.03)


def draw_jacket(canvas: Canvas) -> None:
    """Zip, standing collar and slanted pockets."""
    _sleeves(canvas, "long")
    _body(canvas, 0.85, waist=0.55)
    canvas.fill([(-0.24, -1.04), (0.24, -1.04), (0.26, -0.84), (-0.26, -0.84)])
    canvas.line([(0, -1.0), (0, 0.88)], STEEL, 0.035)
    for side in (1, -1):
        canvas.line([(0.22 * side, 0.5), (0.38 * side, 0.18)], canvas.cloth.seam, 0.03)


def draw_track_jacket(canvas: Canvas) -> None:
    draw_jacket(canvas)
    stripe = WHITE if luminance(canvas.cloth.shade) < 150 else DARK
    for shift in (0.0, 0.07):
        line = [(0.64 + shift / 2, -0.68), (0.78 + shift, 0.02), (0.8 + shift, 0.62)]
        canvas.line(line, stripe, 0.03)
        canvas.line(_flipped(line), stripe, 0.03)


def draw_blazer(canvas: Canvas) -> None:
    _sleeves(canvas, "long")
    _body(canvas, 0.95, waist=0.5)
    canvas.fill([(-0.2, -0.96), (0.2, -0.96), (0.0, 0.05)], WHITE, cut=0.03)
    lapel = [(0.2, -0.97), (0.36, -0.6), (0.26, -0.5), (0.02, 0.12), (0.0, 0.02)]
    _both_sides(canvas, lapel)
    for side in (1, -1):
        canvas.line([(x * side, y) for x, y in lapel], canvas.cloth.seam)
        canvas.line([(0.2 * side, 0.46), (0.44 * side, 0.42)], canvas.cloth.seam, 0.035)
    canvas.line([(0.0, 0.1), (0.05, 0.98)], canvas.cloth.seam)
    canvas.oval((0.03, 0.22), (0.026, 0.026), canvas.cloth.seam, relief=0)


def draw_kurta(canvas: Canvas) -> None:
    _sleeves(canvas, "elbow" if canvas.rng.random() < 0.5 else "long")
    _body(canvas, 1.35, waist=0.46, flare=0.08)
    _neckline(canvas, "round")
    trim = canvas.cloth.accent if canvas.rng.random() < 0.5 else canvas.cloth.seam
    canvas.fill([(-0.07, -0.8), (0.07, -0.8), (0.06, -0.2), (-0.06, -0.2)], trim, relief=0.1)
    for side in (1, -1):
        canvas.line([(0.58 * side, 1.3), (0.5 * side, 0.6)], canvas.cloth.seam, 0.02)
    canvas.line([(-0.6, 1.28), (0.6, 1.28)], trim, 0.05)


def draw_dress(canvas: Canvas) -> None:
    rng = canvas.rng
    hem, flare = rng.uniform(1.1, 1.6), rng.uniform(0.5, 0.8)
    shoulders = [(0.16, -0.95), (0.32, -0.95), (0.46, -0.5)]
    if rng.random() < 0.4:
        _sleeves(canvas, "short")
        shoulders = [(0.16, -0.95), (0.56, -0.8), (0.52, -0.4)]
    half = [*shoulders, (0.34, 0.05), (flare, hem)]
    canvas.fill(_mirrored([*half, (0.0, hem + 0.06)]), cut=0.07)
    _neckline(canvas, "deep")
    canvas.line([(-0.34, 0.05), (0.34, 0.05)], canvas.cloth.seam, 0.05)
    for x in (-0.5, -0.2, 0.15, 0.45):
        canvas.line([(x * 0.55, 0.14), (x * flare * 1.5, hem - 0.1)], canvas.cloth.seam, 0.008)


def draw_trousers(canvas: Canvas) -> None:
    leg = [(0.0, -0.95), (0.42, -0.95), (0.5, -0.3), (0.42, 1.0), (0.14, 1.0), (0.02, -0.1)]
    _both_sides(canvas, [(x, y * 1.15) for x, y in leg])
    _waistband(canvas, -1.08)


def draw_jeans(canvas: Canvas) -> None:
    draw_trousers(canvas)
    thread = (204, 150, 84)
    for side in (1, -1):
        canvas.line(
            [(0.2 * side, -0.92), (0.28 * side, -0.78), (0.44 * side, -0.74)], thread, 0.014
        )
        canvas.line([(0.46 * side, -0.4), (0.4 * side, 1.12)], canvas.cloth.seam, 0.014)
    canvas.oval((0, -1.02), (0.025, 0.025), BRASS, relief=0)


def draw_track_pants(canvas: Canvas) -> None:
    draw_trousers(canvas)
    stripe = WHITE if luminance(canvas.cloth.shade) < 150 else DARK
    for side in (1, -1):
        canvas.line([(0.4 * side, -0.9), (0.46 * side, -0.34), (0.38 * side, 1.12)], stripe, 0.04)


def draw_shorts(canvas: Canvas) -> None:
    leg = [(0.0, -0.6), (0.5, -0.6), (0.74, 0.55), (0.12, 0.64), (0.0, 0.0)]
    _both_sides(canvas, leg)
    _waistband(canvas, -0.58)
    for side in (1, -1):
        canvas.line([(0.7 * side, 0.46), (0.12 * side, 0.55)], canvas.cloth.seam)
        canvas.line([(0.32 * side, -0.42), (0.54 * side, -0.08)], canvas.cloth.seam, 0.022)


def _waistband(canvas: Canvas, top: float) -> None:
    half = [(0.0, top), (0.46, top), (0.48, top + 0.14), (0.0, top + 0.15)]
    canvas.fill(_mirrored(half), cut=0.03)
    canvas.line([(-0.47, top + 0.14), (0.47, top + 0.14)], canvas.cloth.seam)
    canvas.line([(0, top + 0.02), (0, top + 0.5)], canvas.cloth.seam)
    canvas.line([(0.09, top + 0.15), (0.08, top + 0.4), (0, top + 0.5)], canvas.cloth.seam, 0.012)


def draw_skirt(canvas: Canvas) -> None:
    flare, hem = canvas.rng.uniform(0.55, 0.95), canvas.rng.uniform(0.4, 0.9)
    half = [(0.0, -0.6), (0.36, -0.6), (0.5, -0.2), (flare, hem), (0.0, hem + 0.08)]
    canvas.fill(_mirrored(half), cut=0.06)
    canvas.line([(-0.37, -0.5), (0.37, -0.5)], canvas.cloth.seam, 0.03)
    for x in (-0.7, -0.35, 0.05, 0.4, 0.72):
        canvas.line([(x * 0.45, -0.42), (x * flare, hem)], canvas.cloth.seam, 0.012)


def draw_sari(canvas: Canvas) -> None:
    """A skirt in pleats with a drape over one shoulder, and a contrasting border."""
    border = canvas.cloth.accent
    canvas.fill([(-0.34, -0.86), (0.34, -0.86), (0.3, -0.35), (-0.3, -0.35)], scaled(border, 0.9))
    canvas.fill([(-0.3, -0.1), (0.34, -0.1), (0.56, 1.7), (-0.5, 1.7)], cut=0.06)
    for x in (-0.2, -0.1, 0.0, 0.1, 0.2):
        canvas.line([(x * 0.6, 0.0), (x * 1.4, 1.62)], canvas.cloth.seam, 0.012)
    canvas.line([(-0.48, 1.64), (0.54, 1.64)], border, 0.09)
    canvas.fill(
        [(0.14, -0.92), (0.38, -0.84), (0.86, 1.1), (0.5, 1.2), (-0.34, 0.1), (-0.32, -0.16)]
    )
    canvas.line([(0.14, -0.9), (-0.32, -0.14)], border, 0.05)
    canvas.line([(0.85, 1.06), (0.5, 1.16)], border, 0.09)


def draw_scarf(canvas: Canvas) -> None:
    canvas.fill([(-0.5, -0.9), (0.05, -0.95), (0.3, 0.8), (-0.22, 0.9)], cut=0.1)
    canvas.fill([(0.5, -0.9), (-0.05, -0.95), (-0.12, 0.55), (0.42, 0.5)], cut=0.1)
    canvas.oval((0, -0.86), (0.46, 0.16))
    for x in np.linspace(-0.2, 0.28, 12):
        canvas.line([(float(x), 0.84), (float(x) - 0.01, 1.0)], canvas.cloth.shade, 0.022)


def draw_tie(canvas: Canvas) -> None:
    canvas.fill([(-0.12, -0.72), (0.12, -0.72), (0.26, 0.8), (0, 1.05), (-0.26, 0.8)], cut=0.03)
    canvas.fill([(-0.18, -1.0), (0.18, -1.0), (0.11, -0.7), (-0.11, -0.7)], cut=0.06)


def draw_socks(canvas: Canvas) -> None:
    for shift in (-0.42, 0.3):
        sock = [(-0.18, -0.95), (0.2, -0.95), (0.22, 0.4), (0.6, 0.72), (0.5, 0.95), (0.2, 0.92)]
        outline = [*sock, (-0.2, 0.5)]
        canvas.fill([(x + shift, y) for x, y in outline])
        canvas.line([(shift - 0.17, -0.82), (shift + 0.19, -0.82)], canvas.cloth.seam, 0.03)


def draw_sneaker(canvas: Canvas) -> None:
    sole = WHITE if canvas.rng.random() < 0.8 else DARK
    upper = [(-0.96, 0.34), (-0.94, -0.34), (-0.8, -0.44), (-0.6, -0.2), (-0.34, -0.24)]
    upper += [(-0.2, -0.5), (-0.02, -0.46), (0.4, 0.0), (0.86, 0.08), (1.02, 0.34)]
    canvas.fill([(-0.86, -0.4), (-0.6, -0.5), (-0.2, -0.46), (-0.3, -0.14)], DARK)
    canvas.fill(upper, cut=0.1)
    canvas.fill([(-0.98, 0.28), (1.0, 0.28), (1.04, 0.42), (0.94, 0.5), (-0.96, 0.5)], sole)
    mark = WHITE if luminance(canvas.cloth.shade) < 140 else canvas.cloth.accent
    if canvas.rng.random() < 0.7:
        canvas.fill([(-0.5, 0.12), (-0.3, 0.2), (0.2, -0.08), (-0.3, 0.08)], mark, cut=0.05)
    for step in range(4):
        x, y = -0.08 + step * 0.12, -0.36 + step * 0.11
        canvas.line([(x - 0.1, y + 0.08), (x + 0.06, y - 0.02)], WHITE, 0.035)
    canvas.line([(0.5, 0.26), (0.52, 0.08)], canvas.cloth.seam)
    canvas.line([(-0.9, -0.1), (-0.66, 0.0), (-0.6, 0.26)], canvas.cloth.seam)


def draw_formal_shoe(canvas: Canvas) -> None:
    upper = [(-0.92, 0.3), (-0.94, -0.24), (-0.8, -0.34), (-0.5, -0.16), (-0.2, -0.26)]
    upper += [(-0.06, -0.24), (0.36, 0.04), (0.86, 0.14), (1.04, 0.3)]
    canvas.fill([(-0.86, -0.28), (-0.5, -0.34), (-0.16, -0.24), (-0.4, -0.06)], DARK)
    canvas.fill(upper, cut=0.1, relief=0.45)
    canvas.fill(
        [(-0.94, 0.28), (1.04, 0.28), (1.0, 0.36), (-0.5, 0.37), (-0.52, 0.47), (-0.92, 0.47)],
        DARK,
        cut=0.03,
    )
    canvas.line([(0.44, 0.26), (0.5, 0.08)], canvas.cloth.seam)
    canvas.line([(-0.3, 0.24), (-0.1, 0.02), (-0.12, -0.2)], canvas.cloth.seam)
    for step in range(3):
        x, y = -0.04 + step * 0.11, -0.18 + step * 0.07
        canvas.line([(x - 0.08, y + 0.07), (x + 0.03, y - 0.01)], canvas.cloth.seam, 0.03)


def draw_loafer(canvas: Canvas) -> None:
    upper = [(-0.92, 0.3), (-0.92, -0.16), (-0.76, -0.22), (-0.2, -0.1), (0.04, -0.2)]
    upper += [(0.4, -0.04), (0.88, 0.12), (1.02, 0.3)]
    canvas.fill([(-0.84, -0.18), (-0.4, -0.24), (0.0, -0.16), (-0.3, 0.0)], DARK)
    canvas.fill(upper, cut=0.14, relief=0.4)
    canvas.fill([(-0.92, 0.28), (1.02, 0.28), (0.98, 0.4), (-0.9, 0.4)], (70, 52, 40), cut=0.05)
    canvas.line([(0.02, 0.1), (0.12, -0.14)], canvas.cloth.seam, 0.08)
    canvas.line([(0.2, -0.08), (0.6, 0.02), (0.86, 0.18)], canvas.cloth.seam, 0.02)


def draw_heel(canvas: Canvas) -> None:
    canvas.fill([(-0.9, -0.2), (-0.7, -0.1), (-0.8, 0.66), (-0.86, 0.66)], cut=0.03)
    canvas.fill(
        [
            (-0.92, -0.36),
            (-0.7, -0.3),
            (-0.3, 0.2),
            (0.2, 0.46),
            (0.9, 0.56),
            (0.98, 0.64),
            (0.2, 0.64),
            (-0.4, 0.42),
            (-0.86, -0.08),
        ],
        cut=0.08,
        relief=0.4,
    )
    canvas.fill([(0.16, 0.5), (0.4, 0.2), (0.8, 0.4), (0.98, 0.6)], cut=0.14, relief=0.4)
    if canvas.rng.random() < 0.6:
        canvas.ring((-0.66, -0.5), (0.26, 0.1), canvas.cloth.shade, 0.06, (0, 360))
        canvas.line([(-0.9, -0.3), (-0.9, -0.5)], canvas.cloth.shade, 0.07)


def draw_flip_flop(canvas: Canvas) -> None:
    strap = canvas.cloth.seam if canvas.rng.random() < 0.7 else DARK
    for shift, turn in ((-0.36, -0.06), (0.36, 0.06)):
        foot = [(-0.22, -0.8), (0.0, -0.95), (0.24, -0.8), (0.24, -0.2), (0.2, 0.7), (0.0, 0.9)]
        outline = [*foot, (-0.2, 0.7), (-0.22, -0.1)]
        edge = scaled(canvas.cloth.shade, 0.6)
        canvas.fill([(x + shift + turn * y + 0.03, y + 0.04) for x, y in outline], edge)
        canvas.fill([(x + shift + turn * y, y) for x, y in outline])
        post = (shift - 0.04 * turn, -0.5)
        canvas.line([(shift - 0.22, 0.05), post, (shift + 0.22, 0.05)], strap, 0.085)


def draw_handbag(canvas: Canvas) -> None:
    handle = scaled(canvas.cloth.shade, 0.75)
    canvas.ring((0, -0.2), (0.42, 0.66), handle, 0.07, (180, 360))
    half = [(0.0, -0.32), (0.62, -0.32), (0.74, -0.1), (0.84, 0.66), (0.74, 0.8), (0.0, 0.82)]
    canvas.fill(_mirrored(half), cut=0.06, relief=0.4)
    canvas.line([(-0.64, -0.16), (0.64, -0.16)], canvas.cloth.seam, 0.03)
    metal = BRASS if canvas.rng.random() < 0.6 else STEEL
    for x in (-0.42, 0.42):
        canvas.ring((x, -0.2), (0.05, 0.07), metal, 0.03, (0, 360))
    if canvas.rng.random() < 0.6:
        canvas.fill([(-0.4, 0.2), (0.4, 0.2), (0.44, 0.68), (-0.44, 0.68)], cut=0.06)
        canvas.line([(-0.4, 0.21), (0.4, 0.21)], metal, 0.025)


def draw_clutch(canvas: Canvas) -> None:
    canvas.fill([(-0.95, -0.45), (0.95, -0.45), (0.98, 0.5), (-0.98, 0.5)], cut=0.04, relief=0.4)
    canvas.fill([(-0.95, -0.46), (0.95, -0.46), (0.86, 0.1), (0.0, 0.24), (-0.86, 0.1)], cut=0.05)
    canvas.line([(-0.9, 0.06), (0.0, 0.22), (0.9, 0.06)], canvas.cloth.seam, 0.02)
    canvas.oval((0, 0.18), (0.06, 0.06), BRASS if canvas.rng.random() < 0.6 else STEEL)


def draw_wallet(canvas: Canvas) -> None:
    canvas.fill([(-0.8, -0.62), (0.8, -0.62), (0.8, 0.62), (-0.8, 0.62)], cut=0.03, relief=0.35)
    inset = [(-0.72, -0.54), (0.72, -0.54), (0.72, 0.54), (-0.72, 0.54), (-0.72, -0.54)]
    canvas.line(inset, canvas.cloth.seam, 0.012)
    canvas.line([(0.0, -0.6), (0.0, 0.6)], canvas.cloth.seam, 0.03)


def draw_backpack(canvas: Canvas) -> None:
    canvas.ring((0, -0.88), (0.16, 0.16), DARK, 0.06, (180, 360))
    half = [(0.0, -0.95), (0.42, -0.9), (0.62, -0.6), (0.68, 0.8), (0.56, 0.95), (0.0, 0.97)]
    canvas.fill([(0.6, -0.4), (0.8, 0.0), (0.78, 0.7), (0.6, 0.7)], DARK)
    canvas.fill([(-0.6, -0.4), (-0.8, 0.0), (-0.78, 0.7), (-0.6, 0.7)], DARK)
    canvas.fill(_mirrored(half), cut=0.08, relief=0.4)
    canvas.ring((0, -0.2), (0.56, 0.5), canvas.cloth.seam, 0.03, (190, 350))
    canvas.fill([(-0.48, 0.2), (0.48, 0.2), (0.5, 0.84), (-0.5, 0.84)], cut=0.08, relief=0.4)
    canvas.line([(-0.44, 0.28), (0.44, 0.28)], STEEL, 0.025)
    canvas.fill([(-0.13, -0.22), (0.13, -0.22), (0.13, -0.08), (-0.13, -0.08)], canvas.cloth.accent)


def draw_duffel(canvas: Canvas) -> None:
    canvas.ring((0, -0.2), (0.46, 0.5), DARK, 0.07, (180, 360))
    canvas.fill(
        [(-0.95, -0.3), (0.95, -0.3), (1.02, 0.1), (0.92, 0.56), (-0.92, 0.56), (-1.02, 0.1)],
        cut=0.08,
        relief=0.45,
    )
    canvas.line([(-0.84, -0.18), (0.84, -0.18)], STEEL, 0.03)
    for x in (-0.46, 0.46):
        canvas.line([(x, -0.26), (x, 0.54)], DARK, 0.08)


def draw_trolley(canvas: Canvas) -> None:
    for x in (-0.22, 0.22):
        canvas.line([(x, -1.2), (x, -0.7)], STEEL, 0.05)
    canvas.line([(-0.26, -1.2), (0.26, -1.2)], DARK, 0.08)
    for x in (-0.42, 0.42):
        canvas.oval((x, 1.0), (0.11, 0.11), DARK)
    canvas.fill([(-0.6, -0.76), (0.6, -0.76), (0.62, 0.94), (-0.62, 0.94)], cut=0.06, relief=0.4)
    for x in (-0.36, -0.12, 0.12, 0.36):
        canvas.line([(x, -0.66), (x, 0.84)], canvas.cloth.seam, 0.03)


def draw_watch(canvas: Canvas) -> None:
    """Strap and dial in the labelled color; the case is metal."""
    case = STEEL if canvas.rng.random() < 0.7 else BRASS
    for side in (1, -1):
        band = [(-0.26, 0.36 * side), (0.26, 0.36 * side), (0.2, 1.15 * side), (-0.2, 1.15 * side)]
        canvas.fill(band, cut=0.04, relief=0.4)
        for step in range(4):
            y = (0.6 + 0.14 * step) * side
            canvas.line([(-0.2, y), (0.2, y)], canvas.cloth.seam, 0.014)
    canvas.fill([(0.42, -0.06), (0.56, -0.06), (0.56, 0.06), (0.42, 0.06)], case)
    canvas.oval((0, 0), (0.5, 0.5), case, relief=0.4)
    canvas.oval((0, 0), (0.41, 0.41), relief=0.2)
    hands = WHITE if luminance(canvas.cloth.shade) < 130 else DARK
    for hour in range(12):
        ray = np.array([np.cos(hour * np.pi / 6), np.sin(hour * np.pi / 6)])
        canvas.line([tuple(ray * 0.32), tuple(ray * 0.38)], hands, 0.026)
    canvas.line([(-0.18, -0.14), (0, 0), (0.2, -0.22)], hands, 0.03)


def draw_sunglasses(canvas: Canvas) -> None:
    """Frame in the labelled color, with a lens of the same or a dark one."""
    frame = canvas.cloth.shade
    lens = scaled(frame, 0.8) if canvas.rng.random() < 0.5 else (58, 54, 52)
    for side in (1, -1):
        outline = [
            (0.08, -0.22),
            (0.84, -0.3),
            (0.9, 0.02),
            (0.68, 0.34),
            (0.28, 0.32),
            (0.1, 0.08),
        ]
        rim = [(x * side, y) for x, y in outline]
        canvas.fill(rim, cut=0.2)
        canvas.fill(
            [((x - 0.48 * side) * 0.78 + 0.48 * side, y * 0.76) for x, y in rim], lens, cut=0.2
        )
        canvas.line([(0.86 * side, -0.24), (0.98 * side, -0.2), (1.0 * side, 0.0)], frame, 0.09)
    canvas.line([(-0.14, -0.12), (0, -0.17), (0.14, -0.12)], frame, 0.09)


def draw_cap(canvas: Canvas) -> None:
    canvas.fill(
        [(-0.75, 0.24), (-0.7, -0.3), (-0.3, -0.66), (0.14, -0.66), (0.5, -0.3), (0.56, 0.2)],
        cut=0.14,
        relief=0.4,
    )
    canvas.fill(
        [(0.2, 0.1), (0.56, 0.06), (1.05, 0.3), (0.98, 0.44), (0.5, 0.3), (0.0, 0.3)],
        cut=0.16,
        relief=0.4,
    )
    canvas.line([(-0.74, 0.2), (0.1, 0.26), (0.56, 0.12)], canvas.cloth.seam)
    canvas.line([(-0.08, -0.62), (-0.3, -0.2), (-0.3, 0.2)], canvas.cloth.seam, 0.014)
    canvas.line([(-0.08, -0.62), (0.24, -0.2), (0.28, 0.14)], canvas.cloth.seam, 0.014)
    canvas.oval((-0.08, -0.62), (0.06, 0.03), canvas.cloth.seam, relief=0)


def draw_belt(canvas: Canvas) -> None:
    inside = scaled(canvas.cloth.shade, 0.6)
    canvas.ring((0, -0.12), (0.92, 0.26), inside, 0.22, (180, 360))
    strip = [(float(x), 0.3 * (1 - float(x) ** 2) ** 0.5) for x in np.linspace(-0.98, 0.98, 24)]
    canvas.fill(
        [(x, y - 0.2) for x, y in strip] + [(x, y + 0.12) for x, y in reversed(strip)],
        cut=0,
        relief=0.4,
    )
    metal = STEEL if canvas.rng.random() < 0.6 else BRASS
    canvas.line(
        [(-0.16, 0.08), (0.16, 0.08), (0.16, 0.44), (-0.16, 0.44), (-0.16, 0.08)], metal, 0.07
    )
    canvas.line([(-0.16, 0.26), (0.04, 0.26)], metal, 0.04)


def draw_earrings(canvas: Canvas) -> None:
    for shift in (-0.4, 0.4):
        canvas.ring((shift, -0.7), (0.07, 0.14), canvas.cloth.shade, 0.03, (90, 400))
        canvas.oval((shift, -0.42), (0.13, 0.13))
        canvas.fill([(shift, -0.3), (shift + 0.3, 0.3), (shift, 0.6), (shift - 0.3, 0.3)], cut=0.16)
        canvas.oval((shift, 0.18), (0.1, 0.13), canvas.cloth.accent)
        for x in (-0.16, 0.0, 0.16):
            canvas.oval((shift + x, 0.68 - abs(x)), (0.05, 0.08))


def draw_bangle(canvas: Canvas) -> None:
    canvas.ring((0, -0.1), (0.72, 0.42), scaled(canvas.cloth.shade, 0.7), 0.16, (180, 360))
    for step in range(3):
        tone = (1.0, 1.12, 0.86)[step]
        canvas.ring(
            (0, -0.05 + step * 0.11),
            (0.75, 0.45),
            scaled(canvas.cloth.shade, tone),
            0.12,
            (-8, 188),
        )


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


WORN_REACH = 1.85


def reach_of(kind: str, *, is_worn: bool) -> float:
    """How many units a drawing reaches from the middle; a model's head and legs reach further."""
    return WORN_REACH if is_worn else DRAWINGS[kind].reach


def _crop_person(canvas: Canvas) -> None:
    """Cuts a model at the thighs or lower."""
    bottom = int(canvas.side / 2 + canvas.unit * canvas.rng.uniform(1.2, WORN_REACH))
    canvas.alpha.paste(0, (0, min(bottom, canvas.side), canvas.side, canvas.side))


def draw_product(
    kind: str, cloth: Cloth, *, unit: float, is_worn: bool, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    """Draws one product and cuts it out: its pixels and its transparency, of the same size."""
    drawing = DRAWINGS[kind]
    canvas = Canvas(cloth, unit, rng.normal(0, 0.035), rng)
    if is_worn:
        legs = ((52, 62, 88), DARK, (92, 94, 98), (214, 208, 196))[int(rng.integers(4))]
        _person(canvas, legs, bare_legs=drawing.bare_legs)
    drawing.paint(canvas)
    if is_worn:
        _crop_person(canvas)
    box = canvas.alpha.getbbox()
    pixels, alpha = canvas.pixels.crop(box), canvas.alpha.crop(box)
    # Lettering must stay readable, so what may have a chest print is never mirrored.
    if drawing.is_top or rng.random() < 0.6:
        return pixels, alpha
    mirror = Image.Transpose.FLIP_LEFT_RIGHT
    return pixels.transpose(mirror), alpha.transpose(mirror)
