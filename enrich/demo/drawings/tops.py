"""Shirts, sweaters and jackets: what is worn on the upper body."""

from enrich.demo.drawings.canvas import DARK, STEEL, WHITE, Canvas, both_sides, flipped
from enrich.demo.drawings.garment_parts import body, buttons, collar, neckline, sleeves
from enrich.demo.fabrics.shades import luminance, scaled


def draw_t_shirt(canvas: Canvas) -> None:
    sleeves(canvas, "short")
    body(canvas, 0.92)
    neckline(canvas, "v" if canvas.rng.random() < 0.25 else "round")


def draw_polo(canvas: Canvas) -> None:
    sleeves(canvas, "short")
    body(canvas, 0.9)
    collar(canvas)
    buttons(canvas, -0.8, -0.35, 3)


def draw_shirt(canvas: Canvas) -> None:
    sleeves(canvas, "long" if canvas.rng.random() < 0.7 else "short")
    body(canvas, 0.95)
    buttons(canvas, -0.78, 0.95, 7)
    canvas.line(
        [(0.16, -0.36), (0.42, -0.36), (0.42, -0.06), (0.29, 0.0), (0.16, -0.06), (0.16, -0.36)],
        canvas.cloth.seam,
        0.014,
    )
    collar(canvas)


def draw_shirt_with_tie(canvas: Canvas) -> None:
    draw_shirt(canvas)
    tie = scaled(canvas.cloth.accent, 0.9)
    canvas.fill([(-0.07, -0.84), (0.07, -0.84), (0.05, -0.72), (-0.05, -0.72)], tie)
    canvas.fill([(-0.05, -0.72), (0.05, -0.72), (0.1, 0.2), (0, 0.32), (-0.1, 0.2)], tie, cut=0.03)


def draw_folded_shirt(canvas: Canvas) -> None:
    """A shirt as it lies in its box."""
    canvas.fill([(-0.72, -0.82), (0.72, -0.82), (0.74, 0.95), (-0.74, 0.95)], cut=0.03)
    canvas.oval((0, -0.84), (0.28, 0.14), scaled(canvas.cloth.shade, 0.55), relief=0)
    buttons(canvas, -0.7, 0.95, 6)
    canvas.line(
        [(0.2, -0.3), (0.56, -0.3), (0.56, 0.12), (0.2, 0.12), (0.2, -0.3)], canvas.cloth.seam
    )
    leaf = [(0.0, -0.68), (0.1, -0.94), (0.34, -0.96), (0.46, -0.74), (0.28, -0.5)]
    both_sides(canvas, leaf)
    for side in (1, -1):
        canvas.line([(x * side, y) for x, y in leaf[-2:] + leaf[:1]], canvas.cloth.seam)


def draw_top(canvas: Canvas) -> None:
    """A sleeveless or short-sleeved top for women, with a waist."""
    if canvas.rng.random() < 0.5:
        sleeves(canvas, "short")
    body(canvas, 0.72, waist=0.43, flare=-0.02)
    neckline(canvas, "deep")


def draw_sweater(canvas: Canvas) -> None:
    sleeves(canvas, "long")
    body(canvas, 0.85, waist=0.55)
    neckline(canvas, "v" if canvas.rng.random() < 0.5 else "round")
    canvas.line([(-0.54, 0.72), (0.54, 0.72)], canvas.cloth.seam, 0.03)


def draw_jacket(canvas: Canvas) -> None:
    """Zip, standing collar and slanted pockets."""
    sleeves(canvas, "long")
    body(canvas, 0.85, waist=0.55)
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
        canvas.line(flipped(line), stripe, 0.03)


def draw_blazer(canvas: Canvas) -> None:
    sleeves(canvas, "long")
    body(canvas, 0.95, waist=0.5)
    canvas.fill([(-0.2, -0.96), (0.2, -0.96), (0.0, 0.05)], WHITE, cut=0.03)
    lapel = [(0.2, -0.97), (0.36, -0.6), (0.26, -0.5), (0.02, 0.12), (0.0, 0.02)]
    both_sides(canvas, lapel)
    for side in (1, -1):
        canvas.line([(x * side, y) for x, y in lapel], canvas.cloth.seam)
        canvas.line([(0.2 * side, 0.46), (0.44 * side, 0.42)], canvas.cloth.seam, 0.035)
    canvas.line([(0.0, 0.1), (0.05, 0.98)], canvas.cloth.seam)
    canvas.oval((0.03, 0.22), (0.026, 0.026), canvas.cloth.seam, relief=0)
