"""The shades of each color label, and what is reckoned with colors."""

import numpy as np

from enrich.demo.chance import one_of

RGB = tuple[int, int, int]
# Each label is a family of named shades; the names are words of `schemas.labels.LABEL_WORDS` or the
# label itself, so that a title that says "navy" belongs to a navy picture.
SHADES: dict[str, tuple[tuple[str, RGB], ...]] = {
    "beige": (
        ("beige", (222, 203, 172)),
        ("cream", (240, 228, 200)),
        ("khaki", (196, 176, 134)),
        ("sand", (214, 190, 150)),
        ("nude", (229, 197, 172)),
        ("tan", (206, 174, 134)),
    ),
    "black": (("black", (24, 24, 26)), ("jet", (14, 14, 15)), ("charcoal", (44, 45, 48))),
    "blue": (
        ("blue", (38, 84, 178)),
        ("navy", (27, 36, 78)),
        ("sky", (132, 180, 226)),
        ("royal", (32, 62, 190)),
        ("cobalt", (20, 82, 200)),
        ("indigo", (50, 58, 122)),
        ("denim", (78, 112, 158)),
        ("blue", (92, 142, 206)),
    ),
    "bronze": (("bronze", (150, 106, 56)), ("copper", (170, 98, 58))),
    "brown": (
        ("brown", (104, 66, 40)),
        ("coffee", (78, 52, 38)),
        ("chocolate", (66, 38, 26)),
        ("walnut", (118, 80, 54)),
        ("camel", (162, 112, 66)),
        ("taupe", (128, 106, 92)),
    ),
    "gold": (("gold", (212, 172, 72)), ("golden", (222, 186, 92)), ("brass", (190, 156, 74))),
    "green": (
        ("green", (34, 128, 62)),
        ("olive", (98, 104, 48)),
        ("lime", (158, 208, 52)),
        ("mint", (156, 218, 176)),
        ("emerald", (16, 132, 88)),
        ("sage", (142, 164, 124)),
        ("green", (24, 82, 48)),
    ),
    "grey": (
        ("grey", (134, 136, 140)),
        ("slate", (102, 110, 120)),
        ("melange", (170, 171, 174)),
        ("graphite", (88, 89, 92)),
    ),
    "orange": (
        ("orange", (240, 122, 28)),
        ("rust", (196, 88, 38)),
        ("coral", (248, 124, 92)),
        ("peach", (250, 178, 134)),
    ),
    "pink": (
        ("pink", (240, 142, 180)),
        ("rose", (226, 96, 138)),
        ("fuchsia", (224, 38, 132)),
        ("magenta", (206, 32, 120)),
        ("blush", (244, 196, 204)),
    ),
    "purple": (
        ("purple", (104, 48, 140)),
        ("lavender", (178, 156, 216)),
        ("plum", (94, 38, 88)),
        ("violet", (126, 70, 184)),
        ("lilac", (200, 168, 214)),
    ),
    "red": (
        ("red", (200, 28, 36)),
        ("maroon", (112, 22, 38)),
        ("scarlet", (222, 40, 34)),
        ("crimson", (178, 22, 52)),
        ("burgundy", (98, 20, 44)),
        ("wine", (122, 26, 54)),
    ),
    "silver": (
        ("silver", (192, 195, 200)),
        ("steel", (168, 173, 180)),
        ("chrome", (206, 208, 212)),
    ),
    "turquoise": (
        ("turquoise", (42, 188, 190)),
        ("aqua", (92, 214, 208)),
        ("sea green", (38, 168, 152)),
    ),
    "white": (("white", (244, 244, 243)), ("white", (250, 250, 250)), ("snow", (238, 240, 243))),
    "yellow": (("yellow", (246, 208, 44)), ("mustard", (210, 160, 40)), ("lemon", (248, 230, 96))),
}


def pick_shade(color: str, rng: np.random.Generator) -> tuple[str, RGB]:
    """Picks a shade of a color label, with its word; the values vary a little around the named."""
    word, base = one_of(SHADES[color], rng)
    brightness = 1 + rng.uniform(-0.03, 0.06)
    # Jitter in proportion keeps a grey grey: a cast of a few levels would tint black and white.
    jitter = rng.uniform(-0.02, 0.02, 3)
    values = np.clip(np.array(base) * (brightness + jitter), 0, 253)
    return word, (int(values[0]), int(values[1]), int(values[2]))


def scaled(color: RGB, factor: float) -> RGB:
    """A darker (below 1) or lighter (above 1) version of a color."""
    red, green, blue = (min(255, int(value * factor)) for value in color)
    return red, green, blue


def luminance(color: RGB) -> float:
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
