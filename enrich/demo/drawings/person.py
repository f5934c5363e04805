"""The model who wears a garment: drawn before it, cut at the thighs or lower after it."""

from enrich.demo.chance import one_of
from enrich.demo.drawings.canvas import DARK, Canvas, both_sides, mirrored
from enrich.demo.fabrics.shades import RGB, scaled

SKINS: tuple[RGB, ...] = ((232, 194, 166), (206, 156, 120), (160, 112, 80), (112, 76, 54))
HAIRS: tuple[RGB, ...] = ((46, 34, 30), (30, 26, 26), (84, 56, 36))
TROUSERS: tuple[RGB, ...] = ((52, 62, 88), DARK, (92, 94, 98), (214, 208, 196))
# A model's head and legs reach further from the middle than what they wear.
WORN_REACH = 1.85


def draw_person(canvas: Canvas, *, bare_legs: bool) -> None:
    """Draws a model, over whom the garment is drawn afterwards."""
    rng = canvas.rng
    trousers = one_of(TROUSERS, rng)
    skin = one_of(SKINS, rng)
    hair = one_of(HAIRS, rng)
    if rng.random() < 0.5:
        canvas.fill([(-0.3, -1.6), (0.3, -1.6), (0.36, -0.75), (-0.36, -0.75)], hair)
    leg = [(0.02, 0.6), (0.5, 0.6), (0.44, 1.55), (0.4, 2.1), (0.16, 2.1), (0.1, 1.4)]
    both_sides(canvas, leg, skin if bare_legs else trousers)
    arm = [(0.5, -0.82), (0.68, -0.6), (0.86, 0.1), (0.82, 0.72), (0.7, 0.74), (0.68, 0.15)]
    both_sides(canvas, arm, skin)
    shoulders = [(0.1, -1.25), (0.13, -0.98), (0.46, -0.86), (0.44, -0.4), (0.3, 0.1)]
    canvas.fill(mirrored(shoulders), skin, relief=0.15)
    canvas.inside = scaled(skin, 0.96)
    canvas.oval((0, -1.4), (0.22, 0.3), skin)
    canvas.fill([(-0.24, -1.4), (-0.2, -1.74), (0.2, -1.74), (0.24, -1.4), (0, -1.58)], hair)
    for x in (-0.085, 0.085):
        canvas.oval((x, -1.4), (0.03, 0.014), DARK, relief=0)
    canvas.line([(-0.06, -1.23), (0.06, -1.23)], (170, 84, 80), 0.025)


def crop_person(canvas: Canvas) -> None:
    """Cuts a model at the thighs or lower."""
    bottom = int(canvas.side / 2 + canvas.unit * canvas.rng.uniform(1.2, WORN_REACH))
    canvas.alpha.paste(0, (0, min(bottom, canvas.side), canvas.side, canvas.side))
