"""From a file's bytes to an upright picture in RGB, or to a tower's pixels, within limits.

A bad image raises `ImageProblem` with the status that its row will carry. Knows nothing of files
or of what the pixels mean.
"""

import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from enrich.images.costs import (
    LONGEST_EXIF,
    CountedReads,
    refuse_costly_structure,
    refuse_long_sides,
    refuse_many_pixels,
)
from enrich.images.limits import ImageLimits, ImageProblem
from enrich.preprocess import ImageShape, to_pixels
from enrich.records import Status
from enrich.redaction import describe_error

Made = TypeVar("Made")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# What is no picture for the job and yet to be named: where its mark stands in the file, the mark.
_MARKS = (
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    # Pillow knows none of these where what stands before the pixels is damaged.
    (0, b"\xff\xd8\xff", "a damaged JPEG"),
    (0, b"\x89PNG", "a damaged PNG"),
    (0, b"GIF8", "a damaged GIF"),
    (0, b"BM", "a damaged BMP"),
    *((0, mark, "a damaged TIFF") for mark in (b"II*\0", b"MM\0*")),
)

# While transparency is laid on white.
_MOST_BYTES_A_PIXEL = 20
# Several of 50 megapixels at a time would be several gigabytes. Small ones do not wait.
LARGE_PIXELS = 8_000_000
_one_large = threading.Lock()

# Pillow warns of large pictures, where the limits here are exact, and of every damaged tag. Set
# once: the standard library's way of doing it for a while is not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(data: bytes, *, limits: ImageLimits, target_px: int) -> Image.Image:
    """Returns the picture in RGB, upright, transparency on white; of an animation the first frame.

    Args:
        data: The file's bytes.
        limits: The header's pixel count is checked before a pixel is decoded.
        target_px: Larger JPEGs are decoded scaled down by a power of two, to no less than twice
            this many pixels a side, which saves most of their decoding time. Of other pictures,
            those of many megapixels are scaled down to no less than three times as many.

    Raises:
        ImageProblem: the bytes are no whole image of a known format, too many pixels, or a
            structure that costs far more than its pixels.
    """
    return _decode(data, limits, target_px, lambda picture: picture)


def decode_pixels(data: bytes, *, limits: ImageLimits, shape: ImageShape) -> np.ndarray:
    """Returns the pixels that a tower sees: uint8 (3, size_px, size_px).

    A large picture is gone before the next large one is decoded. A long and narrow one cannot be
    scaled down in between: its shorter side may have no pixels to spare.

    Raises:
        ImageProblem: as `decode`.
    """
    return _decode(data, limits, shape.size_px, lambda picture: to_pixels(picture, shape))


def _decode(
    data: bytes, limits: ImageLimits, target_px: int, make: Callable[[Image.Image], Made]
) -> Made:
    """Returns what is made of the picture, which of a large one only one thread does at a time."""
    pixels = limits.max_pixels  # for all that is known before the header is read
    try:
        refuse_costly_structure(data, max_pixels=limits.max_pixels)
        image = Image.open(CountedReads(data), formats=FORMATS)
        width, height = image.size
        refuse_many_pixels(width, height, limits.max_pixels)
        refuse_long_sides(width, height)
        pixels = width * height
        image.draft("RGB", (2 * target_px, 2 * target_px))
        with one_if_large(_count_kept(image, pixels)):
            image.load()
            return make(_shrink_coarsely(_to_rgb(_upright(image)), target_px))
    except Image.DecompressionBombError as error:
        raise ImageProblem(Status.IMAGE_TOO_LARGE, describe_error(error)) from error
    except MemoryError as error:
        # This machine's, at this moment: another run may have it.
        raise ImageProblem(Status.IMAGE_UNREADABLE, describe_error(error)) from error
    except UnidentifiedImageError as error:
        raise ImageProblem(Status.IMAGE_CORRUPT, _describe_unknown(data)) from error
    except ImageProblem:
        raise
    except Exception as error:
        # Damaged files make Pillow raise whatever its parsers happen to meet, and so does short
        # memory where they are WebP or progressive JPEG.
        if _is_memory_short(pixels):
            short = MemoryError(f"memory is short, or the file is broken: {error}")
            raise ImageProblem(Status.IMAGE_UNREADABLE, describe_error(short)) from error
        raise ImageProblem(Status.IMAGE_CORRUPT, describe_error(error)) from error


def _is_memory_short(pixels: int) -> bool:
    """Tells whether a picture of so many pixels may find no room now."""
    try:
        # Never touched, so it takes no memory itself.
        np.empty(pixels * _MOST_BYTES_A_PIXEL, dtype=np.uint8)
    except MemoryError:
        return True
    return False


def one_if_large(pixels: int) -> AbstractContextManager[object]:
    """Returns what only one thread at a time enters where a picture of so many pixels is large."""
    return _one_large if pixels > LARGE_PIXELS else nullcontext()


def _count_kept(image: Image.Image, pixels: int) -> int:
    width, height = image.size
    # A progressive JPEG keeps the coefficients of all its pixels, however small it is decoded.
    return max(width * height, pixels if image.info.get("progressive") else 0)


def _upright(image: Image.Image) -> Image.Image:
    if len(image.info.get("exif", b"")) > LONGEST_EXIF:
        return image
    try:
        # Pillow copies what stands upright already.
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return image if is_upright else ImageOps.exif_transpose(image)
    except ImageProblem:
        raise
    except Exception:
        return image  # the pixels are whole where what is said about them is damaged


def _shrink_coarsely(image: Image.Image, target_px: int) -> Image.Image:
    """Shrinks a large picture by whole blocks, so that the next step has less to hold and to copy.

    At least three pixels are left for each one that is wanted: the precise resize that follows
    loses no accuracy.
    """
    factor = min(image.size) // (3 * target_px)
    is_large = image.width * image.height > LARGE_PIXELS
    return image.reduce(factor) if is_large and factor > 1 else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit gray: Pillow's own conversion to RGB clips at 255 instead of scaling. Its point()
        # takes 16 bits in one byte order only.
        image = image.convert("I").point(lambda value: value / 257).convert("L")
        if isinstance(clear := image.info.get("transparency"), int):
            image.info["transparency"] = clear // 257
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image)
        image = canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def _describe_unknown(data: bytes) -> str:
    if not data:
        return "an empty file"
    known = (name for start, mark, name in _MARKS if data.startswith(mark, start))
    is_page = data[:100].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    found = next(known, "a web page or SVG" if is_page else "no image of a known format")
    return f"{found} ({len(data):,} bytes); wanted: {', '.join(FORMATS)}"
