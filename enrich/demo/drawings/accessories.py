"""Scarves, ties, belts, caps, glasses, watches and jewellery: what is worn besides clothes."""

import numpy as np

from enrich.demo.drawings.canvas import BRASS, DARK, STEEL, WHITE, Canvas
from enrich.demo.fabrics.shades import luminance, scaled


def draw_scarf(canvas: Canvas) -> None:
    canvas.fill([(-0.5, -0.9), (0.05, -0.95), (0.3, 0.8), (-0.22, 0.9)], cut=0.1)
    canvas.fill([(0.5, -0.9), (-0.05, -0.95), (-0.12, 0.55), (0.42, 0.5)], cut=0.1)
    canvas.oval((0, -0.86), (0.46, 0.16))
    for x in np.linspace(-0.2, 0.28, 12):
        canvas.line([(float(x), 0.84), (float(x) - 0.01, 1.0)], canvas.cloth.shade, 0.022)


def draw_tie(canvas: Canvas) -> None:
    canvas.fill([(-0.12, -0.72), (0.12, -0.72), (0.26, 0.8), (0, 1.05), (-0.26, 0.8)], cut=0.03)
    canvas.fill([(-0.18, -1.0), (0.18, -1.0), (0.11, -0.7), (-0.11, -0.7)], cut=0.06)


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
