"""What upper garments are sewn from: sleeves, a body, a neckline, a collar and buttons."""

import numpy as np

from enrich.demo.drawings.canvas import WHITE, Canvas, Points, both_sides, mirrored
from enrich.demo.fabrics.shades import luminance, scaled


def sleeves(canvas: Canvas, length: str) -> None:
    """Sleeves of length "short", "elbow" or "long", drawn before the body covers their seam."""
    ends: dict[str, Points] = {
        "short": [(0.5, -0.86), (0.68, -0.74), (0.98, -0.3), (0.72, -0.14), (0.5, -0.4)],
        "elbow": [(0.5, -0.86), (0.68, -0.74), (0.96, -0.02), (0.72, 0.08), (0.5, -0.4)],
        "long": [(0.5, -0.86), (0.68, -0.74), (0.88, 0.0), (0.92, 0.66), (0.7, 0.68), (0.5, -0.3)],
    }
    sleeve = ends[length]
    both_sides(canvas, sleeve)
    for side in (1, -1):
        outer, inner = np.array(sleeve[-3]), np.array(sleeve[-2])
        # The corners of a sleeve are rounded: a seam from corner to corner would stick out.
        hem = [outer + (inner - outer) * share for share in (0.16, 0.84)]
        canvas.line([(float(x) * side, float(y) - 0.03) for x, y in hem], canvas.cloth.seam)
        canvas.line([(0.56 * side, -0.8), (0.54 * side, -0.36)], canvas.cloth.seam, 0.014)


def body(canvas: Canvas, hem: float, *, flare: float = 0.0, waist: float = 0.52) -> None:
    """The trunk of an upper garment, from the shoulders to `hem`."""
    hem_half = 0.55 + flare
    half = [(0.1, -0.9), (0.24, -0.94), (0.56, -0.8), (0.53, -0.4), (waist, 0.1), (hem_half, hem)]
    canvas.fill(mirrored([*half, (0.0, hem + 0.03)]), cut=0.07)
    canvas.line([(-hem_half + 0.03, hem - 0.07), (hem_half - 0.03, hem - 0.07)], canvas.cloth.seam)


def neckline(canvas: Canvas, kind: str) -> None:
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


def collar(canvas: Canvas) -> None:
    leaf = [(0.02, -0.82), (0.06, -0.98), (0.2, -1.02), (0.27, -0.88), (0.16, -0.68)]
    both_sides(canvas, leaf)
    for side in (1, -1):
        canvas.line([(x * side, y) for x, y in leaf[-2:] + leaf[:1]], canvas.cloth.seam)


def buttons(canvas: Canvas, top: float, bottom: float, count: int) -> None:
    seam = canvas.cloth.seam
    button = WHITE if luminance(canvas.cloth.shade) < 120 else scaled(seam, 0.7)
    canvas.line([(-0.05, top), (-0.05, bottom)], seam, 0.012)
    canvas.line([(0.05, top), (0.05, bottom)], seam, 0.012)
    for y in np.linspace(top + 0.06, bottom - 0.08, count):
        canvas.oval((0, float(y)), (0.022, 0.022), button, relief=0)
