"""Colors and patterns as textures: what a drawn product is made of.

Knows the labels of color and pattern, and nothing of garments, photographs or texts.
Lengths are in units: a product reaches from about -1 to 1 in both directions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]
Texture = (
    np.ndarray
)  # height x width x 3, float32, 0 to 255 (values outside are clipped at the end)

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
METALS = frozenset({"gold", "silver", "bronze"})
VIVID = ("red", "blue", "green", "yellow", "orange", "pink", "purple", "turquoise")


@dataclass(frozen=True)
class Cloth:
    """What a drawing paints with: a texture as large as the canvas, and plain colors to match."""

    texture: Image.Image
    shade: RGB
    seam: RGB
    accent: RGB
    word: str


@dataclass(frozen=True)
class Swatch:
    """What a pattern is made from: inks (the first is the labelled color) on a grid in units."""

    inks: tuple[RGB, ...]
    is_multi: bool
    x: np.ndarray
    y: np.ndarray
    unit: float
    rng: np.random.Generator

    @property
    def side(self) -> int:
        return self.x.size

    def plain(self) -> Texture:
        return np.broadcast_to(_ink(self.inks[0]), (self.side, self.side, 3)).copy()


def weave_cloth(
    color: str,
    pattern: str | None,
    *,
    side: int,
    unit: float,
    is_top: bool,
    rng: np.random.Generator,
) -> Cloth:
    """Makes a square texture of `side` pixels with `unit` pixels to a unit.

    A pattern of None (a watch has none) is plain material. `is_top` allows a print that sits on
    the chest alone.
    """
    is_multi = color == "multi"
    word, inks = _pick_inks(color, rng)
    line = ((np.arange(side, dtype=np.float32) - side / 2) / unit).astype(np.float32)
    swatch = Swatch(inks, is_multi, line[None, :], line[:, None], unit, rng)
    if pattern is None or pattern == "solid":
        # A product of many colors without a pattern label is still not of one color.
        texture = _blobs(swatch) if is_multi else swatch.plain()
    elif pattern == "printed" and is_top and rng.random() < 0.45:
        texture = _chest_print(swatch)
    else:
        texture = PATTERNS[pattern](swatch)
    if color in METALS:
        texture = texture * _metal_sheen(swatch)[:, :, None]
    pixels = np.clip(texture, 0, 255).astype(np.uint8)
    shade = inks[0]
    return Cloth(Image.fromarray(pixels), shade, _seam_for(shade), inks[1], word)


def pick_shade(color: str, rng: np.random.Generator) -> tuple[str, RGB]:
    """Picks a shade of a color label, with its word; the values vary a little around the named."""
    family = SHADES[color]
    word, base = family[int(rng.integers(len(family)))]
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


def smooth_noise(side: int, cells: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise in [-1, 1] with about `cells` (rows, columns) bumps over a square of `side` pixels."""
    coarse = rng.uniform(-1, 1, cells).astype(np.float32)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _pick_inks(color: str, rng: np.random.Generator) -> tuple[str, tuple[RGB, ...]]:
    if color == "multi":
        names = rng.permutation(VIVID)[: int(rng.integers(4, 7))]
        return "multi", tuple(pick_shade(str(name), rng)[1] for name in names)
    word, shade = pick_shade(color, rng)
    return word, (shade, _contrast_for(shade, rng), _contrast_for(shade, rng))


def _contrast_for(shade: RGB, rng: np.random.Generator) -> RGB:
    """A second color that is seen against the first: black or white mostly, or another color."""
    names = ("white", "black", "grey", "beige", "blue", *VIVID)
    weights = np.array([8, 4, 2, 2, 2, *[0.7] * len(VIVID)])
    for _ in range(8):
        candidate = pick_shade(str(rng.choice(names, p=weights / weights.sum())), rng)[1]
        if abs(luminance(candidate) - luminance(shade)) > 75:
            return candidate
    return (250, 250, 250) if luminance(shade) < 128 else (30, 30, 34)


def _seam_for(shade: RGB) -> RGB:
    # On near-black cloth a darker seam cannot be seen.
    if luminance(shade) < 60:
        red, green, blue = (value + 38 for value in shade)
        return red, green, blue
    return scaled(shade, 0.66)


def _ink(color: RGB) -> np.ndarray:
    return np.array(color, dtype=np.float32)


def _mix(ground: Texture, color: RGB, share: np.ndarray | float) -> Texture:
    weight = np.asarray(share, dtype=np.float32)[..., None]
    return ground + (_ink(color) - ground) * weight


def _wave(values: np.ndarray, period: float) -> np.ndarray:
    """The place within a period, in [0, 1)."""
    return np.mod(values / period, 1.0)


def _metal_sheen(swatch: Swatch) -> np.ndarray:
    """Bright and dark bands as on polished metal or satin, around 1."""
    rng = swatch.rng
    angle, period, phase = rng.uniform(-0.6, 0.6), rng.uniform(0.5, 1.0), rng.uniform(0, 6.3)
    along = (swatch.x + swatch.y * angle) * 2 * np.pi / period + phase
    return 0.92 + 0.18 * np.sin(along) + 0.22 * np.clip(np.sin(along * 1.7 + 1), 0.5, 1) ** 4


def _striped(swatch: Swatch) -> Texture:
    rng = swatch.rng
    along = swatch.y if rng.random() < 0.55 else swatch.x
    along = np.broadcast_to(along, (swatch.side, swatch.side))
    if swatch.is_multi:
        palette = np.array(swatch.inks, dtype=np.float32)
        index = np.floor(along / rng.uniform(0.07, 0.16)).astype(int) % len(palette)
        return palette[index]
    period = rng.uniform(0.09, 0.34)
    place = _wave(along, period)
    texture = _mix(swatch.plain(), swatch.inks[1], place < rng.uniform(0.2, 0.36))
    if rng.random() < 0.35:
        texture = _mix(texture, swatch.inks[2], np.abs(place - 0.7) < 0.05)
    return texture


def _checked(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.12, 0.36)
    across, down = _wave(swatch.x, period), _wave(swatch.y, period)
    texture = swatch.plain()
    if not swatch.is_multi and rng.random() < 0.4:
        share = ((across < 0.38) * 0.5 + (down < 0.38) * 0.5) * 0.85
        # Gingham of two strong colors would read as neither: the second is white or black.
        neutral = (246, 246, 244) if luminance(swatch.inks[0]) < 150 else (40, 40, 44)
        return _mix(texture, neutral, share)
    for ink in swatch.inks[1:]:
        centre, width = rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.11)
        bands = (np.abs(across - centre) < width) * 0.5 + (np.abs(down - centre) < width) * 0.5
        texture = _mix(texture, ink, bands)
    return texture


def _printed(swatch: Swatch) -> Texture:
    prints = (_polka_dots, _flowers, _flowers, _blobs, _diamonds)
    return prints[int(swatch.rng.integers(len(prints)))](swatch)


def _polka_dots(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.12, 0.3)
    radius = rng.uniform(0.2, 0.3)
    row = np.floor(swatch.y / period)
    across = _wave(swatch.x + (row % 2) * period / 2, period) - 0.5
    down = _wave(swatch.y, period) - 0.5
    dots = across**2 + down**2 < radius**2
    if not swatch.is_multi:
        return _mix(swatch.plain(), swatch.inks[1], dots)
    palette = np.array(swatch.inks, dtype=np.float32)
    column = np.floor((swatch.x + (row % 2) * period / 2) / period)
    spots = palette[(column + 2 * row).astype(int) % len(palette)]
    return np.where(dots[..., None], spots, _ink((248, 246, 240)))


def _flowers(swatch: Swatch) -> Texture:
    """Flowers of five petals with leaves, in rows with jitter so that none crowds the cloth."""
    rng = swatch.rng
    image = Image.fromarray(swatch.plain().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    step = rng.uniform(0.26, 0.46)
    leaf = pick_shade("green", rng)[1]
    petal_inks = swatch.inks[1:]
    reach = swatch.side / swatch.unit / 2
    for row in np.arange(-reach, reach + step, step):
        for column in np.arange(-reach, reach + step, step):
            centre = np.array([column, row]) + rng.uniform(-0.3, 0.3, 2) * step
            ink = petal_inks[int(rng.integers(len(petal_inks)))]
            size = step * rng.uniform(0.13, 0.2)
            _flower(pen, swatch, centre, size, ink, leaf)
    return np.asarray(image, dtype=np.float32)


def _flower(
    pen: ImageDraw.ImageDraw,
    swatch: Swatch,
    centre: np.ndarray,
    size: float,
    ink: RGB,
    leaf: RGB,
) -> None:
    turn = swatch.rng.uniform(0, 6.3)
    _disc(
        pen, swatch, centre + size * 1.9 * np.array([np.cos(turn), np.sin(turn)]), size * 0.6, leaf
    )
    for petal in range(5):
        angle = turn + petal * 2 * np.pi / 5
        _disc(
            pen, swatch, centre + size * np.array([np.cos(angle), np.sin(angle)]), size * 0.7, ink
        )
    _disc(pen, swatch, centre, size * 0.5, swatch.inks[0])


def _disc(
    pen: ImageDraw.ImageDraw, swatch: Swatch, centre: np.ndarray, radius: float, color: RGB
) -> None:
    x, y = centre * swatch.unit + swatch.side / 2
    r = radius * swatch.unit
    pen.ellipse((x - r, y - r, x + r, y + r), fill=color)


def _blobs(swatch: Swatch) -> Texture:
    """Soft-edged patches, as in abstract or camouflage prints."""
    cells = int(swatch.rng.integers(16, 30))
    texture = swatch.plain()
    for ink in swatch.inks[1:]:
        field = smooth_noise(swatch.side, (cells, cells), swatch.rng)
        # Of several colors each must get its share, of one color most must stay.
        texture = _mix(texture, ink, field > (0.18 if swatch.is_multi else 0.46))
    return texture


def _diamonds(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.16, 0.34)
    across, down = _wave(swatch.x, period), _wave(swatch.y, period * 1.3)
    distance = np.abs(across - 0.5) + np.abs(down - 0.5)
    texture = _mix(swatch.plain(), swatch.inks[1], np.abs(distance - 0.34) < 0.09)
    for ink in swatch.inks[2:]:
        texture = _mix(texture, ink, np.abs(distance - rng.uniform(0.05, 0.9)) < 0.07)
    return texture


def _chest_print(swatch: Swatch) -> Texture:
    """A plain ground with one picture or lettering where the chest is."""
    image = Image.fromarray(_blobs(swatch).astype(np.uint8) if swatch.is_multi else _bytes(swatch))
    pen = ImageDraw.Draw(image)
    middle = swatch.side / 2
    inks = swatch.inks[1:]
    kind = swatch.rng.integers(3)
    if kind != 0:
        _emblem(pen, swatch)
    if kind != 1:
        words = ("CALDER 86", "NORTH", "WILD", "ROUTE 9", "Hello", "TEAM", "SURF", "1974", "LUNE")
        text = words[int(swatch.rng.integers(len(words)))]
        size = swatch.unit * min(0.5, 1.5 / len(text))
        font = ImageFont.load_default(size=max(size, 6))
        top = middle - swatch.unit * (0.35 if kind == 0 else 0.72)
        pen.text((middle, top), text, fill=inks[0], font=font, anchor="mm", stroke_width=1)
    return np.asarray(image, dtype=np.float32)


def _bytes(swatch: Swatch) -> np.ndarray:
    return swatch.plain().astype(np.uint8)


def _emblem(pen: ImageDraw.ImageDraw, swatch: Swatch) -> None:
    """Overlapping discs, rays or bars: something drawn, of about half the chest's width."""
    rng = swatch.rng
    for _ in range(int(rng.integers(5, 12))):
        ink = swatch.inks[1 + int(rng.integers(len(swatch.inks) - 1))]
        x, y = rng.uniform(-0.24, 0.24), rng.uniform(-0.45, 0.05)
        if rng.random() < 0.6:
            _disc(pen, swatch, np.array([x, y]), rng.uniform(0.04, 0.14), ink)
        else:
            ends = np.array([[x, y], rng.uniform((-0.28, -0.48), (0.28, 0.08))])
            flat = (ends * swatch.unit + swatch.side / 2).ravel().tolist()
            pen.line(flat, fill=ink, width=max(1, int(swatch.unit * 0.04)))


def _textured(swatch: Swatch) -> Texture:
    """Relief in one color: knit, rib, quilt or a woven figure."""
    rng = swatch.rng
    kind = rng.integers(4)
    if kind == 0:
        across = np.abs(_wave(swatch.x, 0.1) - 0.5)
        relief = np.sin(2 * np.pi * (swatch.y / 0.07 + across * 1.6)) - (across < 0.08)
    elif kind == 1:
        relief = np.sin(2 * np.pi * swatch.x / rng.uniform(0.05, 0.09)) + 0 * swatch.y
    elif kind == 2:
        period = rng.uniform(0.2, 0.32)
        one, two = _wave(swatch.x + swatch.y, period), _wave(swatch.x - swatch.y, period)
        relief = 2.6 * np.minimum(np.sin(np.pi * one), np.sin(np.pi * two)) - 1.4
    else:
        period = rng.uniform(0.1, 0.18)
        wave = np.sin(2 * np.pi * swatch.x / period) * np.sin(2 * np.pi * swatch.y / period)
        relief = np.where(np.abs(wave) > 0.35, np.sign(wave), 0)
    return _with_relief(swatch, relief, 0.2)


def _with_relief(swatch: Swatch, relief: np.ndarray, depth: float) -> Texture:
    # Black has no light to lose: on dark cloth relief has to be added rather than multiplied.
    texture = swatch.plain()
    lift = 20.0 if luminance(swatch.inks[0]) < 70 else 0.0
    return texture * (1 + depth * (relief - 0.4))[..., None] + (relief * lift)[..., None]


def _lace(swatch: Swatch) -> Texture:
    """A net of small holes with closed flowers between; the lining is seen through the holes."""
    rng = swatch.rng
    lining = (232, 200, 176) if luminance(swatch.inks[0]) < 130 else (112, 86, 74)
    period = rng.uniform(0.06, 0.09)
    net = np.abs(np.sin(np.pi * (swatch.x + swatch.y) / period)) * np.abs(
        np.sin(np.pi * (swatch.x - swatch.y) / period)
    )
    motif = period * rng.uniform(4.5, 6.5)
    across, down = _wave(swatch.x, motif) - 0.5, _wave(swatch.y, motif) - 0.5
    angle, distance = np.arctan2(down, across), np.hypot(across, down)
    petals = 0.26 + 0.12 * np.cos(6 * angle)
    holes = np.where(distance < petals, np.abs(distance - petals * 0.55) < 0.025, net > 0.28)
    return _mix(swatch.plain(), lining, holes * 0.85)


def _colourblocked(swatch: Swatch) -> Texture:
    """Two or three large fields; the labelled color keeps more than half of the product."""
    rng = swatch.rng
    tilt = rng.choice([0.0, 0.0, 0.3, -0.3])
    along = swatch.y + swatch.x * tilt
    if swatch.is_multi:
        palette = np.array(swatch.inks, dtype=np.float32)
        index = np.clip(np.floor((along + 1) * len(palette) / 2), 0, len(palette) - 1)
        return palette[index.astype(int)]
    texture = _mix(swatch.plain(), swatch.inks[1], along < rng.uniform(-0.6, -0.45))
    if rng.random() < 0.6:
        texture = _mix(texture, swatch.inks[2], along > rng.uniform(0.6, 0.75))
    return texture


def _embellished(swatch: Swatch) -> Texture:
    return _sequins(swatch) if swatch.rng.random() < 0.6 else _beads(swatch)


def _sequins(swatch: Swatch) -> Texture:
    rng = swatch.rng
    period = rng.uniform(0.045, 0.07)
    row = np.floor(swatch.y / period).astype(int)
    column = np.floor((swatch.x + (row % 2) * period / 2) / period).astype(int)
    shine = rng.choice([0.55, 0.8, 1.0, 1.25, 2.2], size=(256, 256), p=[0.2, 0.3, 0.3, 0.12, 0.08])
    bright = shine[row % 256, column % 256]
    across = _wave(swatch.x + (row % 2) * period / 2, period) - 0.5
    rim = np.hypot(across, _wave(swatch.y, period) - 0.5) > 0.46
    bright = np.where(rim, bright * 0.55, bright).astype(np.float32)
    glint = np.clip(bright - 1.5, 0, 1) * 110
    return swatch.plain() * bright[..., None] + glint[..., None]


def _beads(swatch: Swatch) -> Texture:
    """Rows and rosettes of gold or silver beads on plain cloth."""
    metal = pick_shade("gold" if swatch.rng.random() < 0.7 else "silver", swatch.rng)[1]
    image = Image.fromarray(_bytes(swatch))
    pen = ImageDraw.Draw(image)
    for row in (-0.62, -0.5, 0.78, 0.9):
        for x in np.arange(-0.8, 0.8, 0.075):
            _disc(pen, swatch, np.array([x, row]), 0.026, metal)
    for x in np.arange(-0.75, 0.8, 0.3):
        for y in np.arange(-0.3, 0.7, 0.3):
            for angle in np.arange(0, 6.2, 1.05):
                around = np.array([x + 0.06 * np.cos(angle), y + 0.06 * np.sin(angle)])
                _disc(pen, swatch, around, 0.022, metal)
    return np.asarray(image, dtype=np.float32)


def _washed(swatch: Swatch) -> Texture:
    """Twill that is faded in clouds and along the middle of the legs or the chest."""
    clouds = smooth_noise(swatch.side, (9, 14), swatch.rng) * 0.5
    creases = smooth_noise(swatch.side, (60, 12), swatch.rng) * 0.3
    middle = np.exp(-(((np.abs(swatch.x) - 0.3) / 0.16) ** 2)) * 0.5
    twill = 0.12 * np.sin(2 * np.pi * (swatch.x + swatch.y) / 0.03)
    faded = np.clip(0.16 + clouds + creases + middle, 0, 0.75)
    return _mix(swatch.plain(), (236, 238, 242), faded) * (1 + twill)[..., None]


PATTERNS: dict[str, Callable[[Swatch], Texture]] = {
    "checked": _checked,
    "colourblocked": _colourblocked,
    "embellished": _embellished,
    "lace": _lace,
    "printed": _printed,
    "striped": _striped,
    "textured": _textured,
    "washed": _washed,
}
