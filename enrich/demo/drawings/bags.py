"""Bags, luggage and wallets: what things are carried in."""

from enrich.demo.drawings.canvas import BRASS, DARK, STEEL, Canvas, mirrored
from enrich.demo.fabrics.shades import scaled


def draw_handbag(canvas: Canvas) -> None:
    handle = scaled(canvas.cloth.shade, 0.75)
    canvas.ring((0, -0.2), (0.42, 0.66), handle, 0.07, (180, 360))
    half = [(0.0, -0.32), (0.62, -0.32), (0.74, -0.1), (0.84, 0.66), (0.74, 0.8), (0.0, 0.82)]
    canvas.fill(mirrored(half), cut=0.06, relief=0.4)
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
    canvas.fill(mirrored(half), cut=0.08, relief=0.4)
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
