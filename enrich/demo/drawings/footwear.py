"""Shoes and socks: what is worn on the feet."""

from enrich.demo.drawings.canvas import DARK, WHITE, Canvas
from enrich.demo.fabrics.shades import luminance, scaled


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


def draw_socks(canvas: Canvas) -> None:
    for shift in (-0.42, 0.3):
        sock = [(-0.18, -0.95), (0.2, -0.95), (0.22, 0.4), (0.6, 0.72), (0.5, 0.95), (0.2, 0.92)]
        outline = [*sock, (-0.2, 0.5)]
        canvas.fill([(x + shift, y) for x, y in outline])
        canvas.line([(shift - 0.17, -0.82), (shift + 0.19, -0.82)], canvas.cloth.seam, 0.03)
