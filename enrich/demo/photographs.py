"""Photographs a cut-out: the frame, a studio background, a shadow and the camera's noise."""

import numpy as np
from PIL import Image, ImageFilter

from enrich.demo.chance import one_of, weighted

# Width and height of the frame, as shares of its longer side.
FRAMES = ((1.0, 1.0), (1.0, 1.0), (0.75, 1.0), (0.75, 1.0), (0.8, 1.0), (1.0, 0.8))
# Pixels of the longer side, with how often they are met.
SIDES: dict[int, float] = {
    96: 3, 128: 5, 160: 6, 200: 12, 224: 14, 256: 16, 300: 16, 320: 10, 400: 10, 512: 4, 640: 2,
    800: 1, 1000: 1,
}  # fmt: skip


def choose_size(rng: np.random.Generator) -> tuple[int, int]:
    side = weighted(SIDES, rng)
    width, height = one_of(FRAMES, rng)
    return round(side * width), round(side * height)


def photograph(
    pixels: Image.Image,
    alpha: Image.Image,
    size: tuple[int, int],
    *,
    on_edge: bool,
    rng: np.random.Generator,
) -> tuple[Image.Image, Image.Image]:
    """Places a cut-out on a studio background with a shadow, and adds the camera's noise.

    With `on_edge` the cut-out ends at the frame's lower edge, as a model does who is cut off at the
    legs. Returns the photograph, and where in it the product is.
    """
    fill = rng.uniform(0.78, 0.96)
    factor = fill * min(size[0] / pixels.width, size[1] / pixels.height)
    small = (max(1, int(pixels.width * factor)), max(1, int(pixels.height * factor)))
    pixels = pixels.resize(small, Image.Resampling.LANCZOS)
    # The outline is not antialiased, and a large picture is hardly shrunk, which would smooth it.
    alpha = alpha.filter(ImageFilter.BoxBlur(0.7)).resize(small, Image.Resampling.BOX)
    spare = np.array(size) - small
    left, top = (spare * rng.uniform(0.35, 0.65, 2)).astype(int).tolist()
    if on_edge:
        top = size[1] - small[1]
    cut_out = Image.new("L", size, 0)
    cut_out.paste(alpha, (left, top))
    picture = _with_shadow(_background(size, rng), cut_out, rng)
    picture.paste(pixels, (left, top), alpha)
    return _with_noise(picture, rng), cut_out


def _background(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """White mostly; off-white, light grey with a falling light, or slightly tinted."""
    kind = rng.random()
    if kind < 0.6:
        return Image.new("RGB", size, (255, 255, 255))
    level = rng.uniform(225, 250) if kind < 0.85 else rng.uniform(195, 225)
    tint = rng.uniform(-7, 7, 3) if kind > 0.75 else np.zeros(3)
    fall = np.linspace(4, -14 if kind > 0.7 else 4, size[1], dtype=np.float32)
    column = np.clip(level + tint + fall[:, None], 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(column[:, None, :], size[0], axis=1))


def _with_shadow(
    picture: Image.Image, cut_out: Image.Image, rng: np.random.Generator
) -> Image.Image:
    drop = max(1, round(picture.height * 0.012))
    shadow = Image.new("L", picture.size, 0)
    shadow.paste(cut_out, (0, drop))
    shadow = shadow.filter(ImageFilter.GaussianBlur(drop * 1.6))
    strength = rng.uniform(0.08, 0.4)
    dark = Image.new("RGB", picture.size, (70, 70, 74))
    return Image.composite(dark, picture, shadow.point(lambda value: int(value * strength)))


def _with_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The camera's exposure and noise; what they push beyond white is clipped, as in a camera."""
    shape = (picture.height, picture.width, 1)
    noise = rng.standard_normal(shape, dtype=np.float32) * rng.uniform(0.5, 3.0)
    exposed = np.asarray(picture, dtype=np.float32) * rng.uniform(0.96, 1.03) + noise
    return Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8))
