"""Refuses files whose structure would cost hours or gigabytes, before or while they are opened.

What a picture costs should follow from its bytes and pixels, which have limits. A file made for it,
and now and then a damaged one, costs a thousand times that. Knows only as much of each format as
that takes. Assumes a Pillow that bounds text chunks and tags by itself (13 or newer).
"""

import io
import struct
from collections.abc import Iterator

import numpy as np

from enrich.images.limits import ImageProblem
from enrich.records import Status

LONGEST_SIDE_PX = 65_535
# A picture of 50 megapixels in tiles of 16 x 16 has 195,000 of them. Pillow needs 240 bytes and
# 3 microseconds for each value of a tag (12 million: 2.9 GB, 42 s).
MOST_TAG_VALUES = 200_000
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

# With the number in either byte order, as Pillow takes it.
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")
_BYTE_TYPES = {1, 2, 6, 7}  # BYTE, ASCII, SBYTE, UNDEFINED: kept as they are
_TILE_WIDTH, _TILE_LENGTH = 322, 323


class CountedReads(io.BytesIO):
    """A file in memory that may be read from so many times only."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns up to `size` bytes.

        Raises:
            ImageProblem: read from too often.
        """
        self._left -= 1
        if self._left < 0:
            raise _too_costly(f"a header of more than {MOST_READS:,} parts")
        return super().read(size)


def refuse_costly_structure(data: bytes, *, max_pixels: int) -> None:
    """Looks at what a decoder would not ask about.

    Raises:
        ImageProblem: more scans, tag values or pixels a tile than any sound picture has.
    """
    if data.startswith(b"\xff\xd8"):
        scans = _count_scans(data)
        if scans > MOST_SCANS + len(data) // _BYTES_A_CHANCE_SCAN:
            raise _too_costly(f"a JPEG of {scans:,} scans")
        parts = data.count(b"Exif\0\0")
        if parts > MOST_EXIF_PARTS:
            raise _too_costly(f"a JPEG with EXIF in {parts:,} parts")
    elif data.startswith(_TIFF_HEADS):
        _refuse_costly_tiff(data, max_pixels)


def _count_scans(data: bytes) -> int:
    """Returns how often a JPEG has the marker of a scan, six times as fast as `bytes.count`."""
    found = 0
    for start in (0, 1):
        pairs = np.frombuffer(data, "<u2", count=(len(data) - start) // 2, offset=start)
        found += int(np.count_nonzero(pairs == _START_OF_SCAN))
    return found


def refuse_many_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuses a picture by what is said of its size, before a pixel is decoded.

    Raises:
        ImageProblem: more than `max_pixels`.
    """
    if width * height > max_pixels:
        raise _too_costly(f"{width} x {height} px is over max_pixels = {max_pixels:,}")


def refuse_long_sides(width: int, height: int) -> None:
    """Refuses what no product looks like; a decoder has costs for each row, however short.

    Raises:
        ImageProblem: a side of more than LONGEST_SIDE_PX.
    """
    if max(width, height) > LONGEST_SIDE_PX:
        raise _too_costly(f"{width} x {height} px: a side of more than {LONGEST_SIDE_PX:,} px")


def _refuse_costly_tiff(data: bytes, max_pixels: int) -> None:
    tile = {_TILE_WIDTH: 1, _TILE_LENGTH: 1}
    for tag, kind, count, value in _tags(data):
        # More values than the file has bytes are damage, which Pillow passes over.
        if MOST_TAG_VALUES < count <= len(data) and kind not in _BYTE_TYPES:
            raise _too_costly(f"a TIFF with a tag of {count:,} values")
        if tag in tile:
            # Of a tag that comes twice decoders differ in which one counts.
            tile[tag] = max(tile[tag], value)
    width, length = tile.values()
    # A tile is decoded whole, also where the picture is a corner of it.
    if width * length > max_pixels:
        raise _too_costly(f"a TIFF with tiles of {width} x {length} px")


def _tags(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yields (tag, type, count, value or place) of a TIFF's first folder, as far as it reaches."""
    if b"+" in data[2:4]:
        yield from _read_folder(data, 8, "Q", "HHQQ", "Q")
    # Pillow takes `MM\0+` for a classic TIFF, where libtiff sees a BigTIFF.
    if data[2:3] != b"+":
        yield from _read_folder(data, 4, "H", "HHII", "I")


def _read_folder(
    data: bytes, head: int, length: str, entry: str, at: str
) -> Iterator[tuple[int, int, int, int]]:
    """Yields the entries of the folder whose place, in format `at`, stands at byte `head`."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (place,) = struct.unpack_from(order + at, data, head)
        (entries,) = struct.unpack_from(order + length, data, place)
        place += struct.calcsize(order + length)
        for _ in range(entries):
            tag, kind, count, value = struct.unpack_from(order + entry, data, place)
            if kind == 3 and order == ">":
                # A short stands at the front of its field.
                value >>= 8 * struct.calcsize(at) - 16
            elif kind == 3:
                value &= 0xFFFF
            yield tag, kind, count, value
            place += struct.calcsize(order + entry)
    except (struct.error, OverflowError):
        return


def _too_costly(what: str) -> ImageProblem:
    return ImageProblem(Status.IMAGE_TOO_LARGE, what)
