"""Decode a file's bytes to an upright RGB picture or to pixels, within limits.

A bad image raises `ImageProblem` with the status for its row. A file whose structure would cost
hours or gigabytes raises it too. The cost of a picture must follow from its bytes and pixels, which
have limits. Assumes Pillow 13 or newer, which bounds text chunks and tags by itself.
"""

import io
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from schemas.tables import Status

from enrich.errors import describe_error
from enrich.images.settings import ImageLimits, ImageProblem, ImageShape

Made = TypeVar("Made")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# What is no picture for the job and yet to be named: where its mark stands in the file, the mark.
_MARKS = (
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    # Pillow knows none of these where what stands before the pixels is damaged.
    (0, b"\xff\xd8\xff", "a damaged JPEG"),
    (0, b"\x89PNG", "a damaged PNG"),
    (0, b"GIF8", "a damaged GIF"),
    (0, b"BM", "a damaged BMP"),
)

LONGEST_SIDE_PX = 65_535
# libjpeg walks over all pixels once a scan, however little the scan holds. Encoders write about
# ten. A video behind the picture holds the marker once in 65,536 bytes by chance.
MOST_SCANS = 256
_BYTES_A_CHANCE_SCAN = 32_768
_START_OF_SCAN = 0xDAFF  # FF DA, little-endian
# Pillow joins the parts of a split EXIF block one by one (740 of 64 KB: 8 s). Cameras write one.
MOST_EXIF_PARTS = 32
# Reads of a header bit by bit, a few microseconds each, in place of a few hundred.
MOST_READS = 2_000_000
LONGEST_EXIF = 1_000_000

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
    """Return the picture in RGB, upright, transparency on white.

    Of an animation the first frame counts. The header's pixel count is checked before a pixel is
    decoded. `target_px` pixels a side are needed: a larger JPEG is decoded at a power of two below
    its size, to at least twice this many, which saves most of its decoding time. Other pictures of
    many megapixels are scaled down to at least three times as many.

    Raises ImageProblem if the bytes are not a whole image of a known format, there are too many
    pixels, or the structure costs far more than its pixels.
    """
    return _decode(data, limits, target_px, lambda picture: picture)


def decode_pixels(data: bytes, *, limits: ImageLimits, shape: ImageShape) -> np.ndarray:
    """Return the pixels that a tower sees: uint8 (3, size_px, size_px).

    A large picture is gone before the next large one is decoded. A long and narrow one cannot be
    scaled down in between: its shorter side may have no pixels to spare.
    """
    # Loads torch, which thumbnails do without.
    from enrich.images.preprocess import to_pixels

    return _decode(data, limits, shape.size_px, lambda picture: to_pixels(picture, shape))


def _decode(
    data: bytes, limits: ImageLimits, target_px: int, make: Callable[[Image.Image], Made]
) -> Made:
    """Return what `make` makes of the picture; large pictures take turns."""
    pixels = limits.max_pixels  # for all that is known before the header is read
    try:
        _refuse_costly_jpeg(data)
        image = Image.open(CountedReads(data), formats=FORMATS)
        width, height = image.size
        _refuse_large(width, height, limits.max_pixels)
        pixels = width * height
        image.draft("RGB", (2 * target_px, 2 * target_px))
        with one_if_large(_count_kept(image, pixels)):
            image.load()
            return make(_shrink_coarsely(_to_rgb(_upright(image)), target_px))
    except Image.DecompressionBombError as error:
        raise _too_costly(f"over max_pixels = {limits.max_pixels:,}") from error
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
    """Return True if memory may not hold a picture of so many pixels now."""
    try:
        # Never touched, so it takes no memory itself.
        np.empty(pixels * _MOST_BYTES_A_PIXEL, dtype=np.uint8)
    except MemoryError:
        return True
    return False


def one_if_large(pixels: int) -> AbstractContextManager[object]:
    """Return a lock for large pictures, so that one thread at a time holds one."""
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
    """Shrink a large picture by whole blocks, to save memory and time.

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
    return f"{found} ({len(data):,} bytes), expected {', '.join(FORMATS)}"


class CountedReads(io.BytesIO):
    """A file in memory that may be read from so many times only."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes; raise ImageProblem if read too often."""
        self._left -= 1
        if self._left < 0:
            raise _too_costly(f"a header of more than {MOST_READS:,} parts")
        return super().read(size)


def _refuse_costly_jpeg(data: bytes) -> None:
    """Raise ImageProblem for more scans or EXIF parts than any sound JPEG has."""
    if not data.startswith(b"\xff\xd8"):
        return
    scans = _count_scans(data)
    if scans > MOST_SCANS + len(data) // _BYTES_A_CHANCE_SCAN:
        raise _too_costly(f"a JPEG of {scans:,} scans")
    parts = data.count(b"Exif\0\0")
    if parts > MOST_EXIF_PARTS:
        raise _too_costly(f"a JPEG with EXIF in {parts:,} parts")


def _count_scans(data: bytes) -> int:
    """Count a JPEG's markers of scans, six times as fast as `bytes.count`."""
    found = 0
    for start in (0, 1):
        pairs = np.frombuffer(data, "<u2", count=(len(data) - start) // 2, offset=start)
        found += int(np.count_nonzero(pairs == _START_OF_SCAN))
    return found


def _refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageProblem by the size in a header, before a pixel is decoded."""
    if width * height > max_pixels:
        raise _too_costly(f"{width} x {height} px is over max_pixels = {max_pixels:,}")
    # A decoder has costs for each row.
    if max(width, height) > LONGEST_SIDE_PX:
        raise _too_costly(f"{width} x {height} px: a side of more than {LONGEST_SIDE_PX:,} px")


def _too_costly(what: str) -> ImageProblem:
    return ImageProblem(Status.IMAGE_TOO_LARGE, what)
