"""Trousers, shorts and skirts: what is worn from the waist down."""

from enrich.demo.drawings.canvas import BRASS, DARK, WHITE, Canvas, both_sides, mirrored
from enrich.demo.fabrics.shades import luminance


def draw_trousers(canvas: Canvas) -> None:
    leg = [(0.0, -0.95), (0.42, -0.95), (0.5, -0.3), (0.42, 1.0), (0.14, 1.0), (0.02, -0.1)]
    both_sides(canvas, [(x, y * 1.15) for x, y in leg])
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
    both_sides(canvas, leg)
    _waistband(canvas, -0.58)
    for side in (1, -1):
        canvas.line([(0.7 * side, 0.46), (0.12 * side, 0.55)], canvas.cloth.seam)
        canvas.line([(0.32 * side, -0.42), (0.54 * side, -0.08)], canvas.cloth.seam, 0.022)


def draw_skirt(canvas: Canvas) -> None:
    flare, hem = canvas.rng.uniform(0.55, 0.95), canvas.rng.uniform(0.4, 0.9)
    half = [(0.0, -0.6), (0.36, -0.6), (0.5, -0.2), (flare, hem), (0.0, hem + 0.08)]
    canvas.fill(mirrored(half), cut=0.06)
    canvas.line([(-0.37, -0.5), (0.37, -0.5)], canvas.cloth.seam, 0.03)
    for x in (-0.7, -0.35, 0.05, 0.4, 0.72):
        canvas.line([(x * 0.45, -0.42), (x * flare, hem)], canvas.cloth.seam, 0.012)


def _waistband(canvas: Canvas, top: float) -> None:
    half = [(0.0, top), (0.46, top), (0.48, top + 0.14), (0.0, top + 0.15)]
    canvas.fill(mirrored(half), cut=0.03)
    canvas.line([(-0.47, top + 0.14), (0.47, top + 0.14)], canvas.cloth.seam)
    canvas.line([(0, top + 0.02), (0, top + 0.5)], canvas.cloth.seam)
    canvas.line([(0.09, top + 0.15), (0.08, top + 0.4), (0, top + 0.5)], canvas.cloth.seam, 0.012)
