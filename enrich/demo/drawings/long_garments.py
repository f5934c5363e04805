"""Dresses, kurtas and saris: what falls from the shoulders to below the hips."""

from enrich.demo.drawings.canvas import Canvas, mirrored
from enrich.demo.drawings.garment_parts import body, neckline, sleeves
from enrich.demo.fabrics.shades import scaled


def draw_dress(canvas: Canvas) -> None:
    rng = canvas.rng
    hem, flare = rng.uniform(1.1, 1.6), rng.uniform(0.5, 0.8)
    shoulders = [(0.16, -0.95), (0.32, -0.95), (0.46, -0.5)]
    if rng.random() < 0.4:
        sleeves(canvas, "short")
        shoulders = [(0.16, -0.95), (0.56, -0.8), (0.52, -0.4)]
    half = [*shoulders, (0.34, 0.05), (flare, hem)]
    canvas.fill(mirrored([*half, (0.0, hem + 0.06)]), cut=0.07)
    neckline(canvas, "deep")
    canvas.line([(-0.34, 0.05), (0.34, 0.05)], canvas.cloth.seam, 0.05)
    for x in (-0.5, -0.2, 0.15, 0.45):
        canvas.line([(x * 0.55, 0.14), (x * flare * 1.5, hem - 0.1)], canvas.cloth.seam, 0.008)


def draw_kurta(canvas: Canvas) -> None:
    sleeves(canvas, "elbow" if canvas.rng.random() < 0.5 else "long")
    body(canvas, 1.35, waist=0.46, flare=0.08)
    neckline(canvas, "round")
    trim = canvas.cloth.accent if canvas.rng.random() < 0.5 else canvas.cloth.seam
    canvas.fill([(-0.07, -0.8), (0.07, -0.8), (0.06, -0.2), (-0.06, -0.2)], trim, relief=0.1)
    for side in (1, -1):
        canvas.line([(0.58 * side, 1.3), (0.5 * side, 0.6)], canvas.cloth.seam, 0.02)
    canvas.line([(-0.6, 1.28), (0.6, 1.28)], trim, 0.05)


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
