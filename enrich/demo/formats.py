"""Encodes a picture in one of the formats that shops deliver."""

import io

import numpy as np
from PIL import Image

from enrich.demo.chance import weighted

FORMATS: dict[str, float] = {
    "jpeg": 70, "png": 8, "webp": 7, "png alpha": 4, "png palette": 3, "jpeg cmyk": 3,
    "jpeg rotated": 5,
}  # fmt: skip
# Orientation tag of EXIF, and what a camera that writes it did to the upright picture.
ORIENTATION_TAG = 0x0112
TURNS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def encode(
    picture: Image.Image, alpha: Image.Image, color: str, rng: np.random.Generator
) -> tuple[bytes, str]:
    """Returns a picture in one of the formats that shops deliver, and the suffix of its file."""
    kind = weighted(FORMATS, rng)
    quality = int(rng.integers(45, 96))
    # A picture in shades of grey is true only of a product that has no other color.
    if kind == "jpeg" and color in ("black", "grey", "white") and rng.random() < 0.12:
        return saved(picture.convert("L"), "JPEG", quality=quality), ".jpg"
    if kind == "png":
        return saved(picture, "PNG"), ".png"
    if kind == "png alpha":
        return saved(_with_alpha(picture, alpha), "PNG"), ".png"
    if kind == "png palette":
        return saved(picture.quantize(128), "PNG"), ".png"
    if kind == "webp":
        return saved(picture, "WEBP", quality=quality, method=2), ".webp"
    if kind == "jpeg cmyk":
        return saved(picture.convert("CMYK"), "JPEG", quality=quality), ".jpg"
    if kind == "jpeg rotated":
        orientation = (3, 6, 8)[int(rng.integers(3))]
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        turned = picture.transpose(TURNS[orientation])
        return saved(turned, "JPEG", quality=quality, exif=exif), ".jpg"
    return saved(picture, "JPEG", quality=quality), ".jpg"


def _with_alpha(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    transparent = picture.copy()
    transparent.putalpha(alpha)
    return transparent


def saved(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()
