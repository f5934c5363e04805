"""Files that weigh little and would cost hours or gigabytes, each by another trick."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence

from PIL import Image

Entry = tuple[int, int, int, bytes]

SHORT = 3


def saved(picture: Image.Image, file_format: str, **options: object) -> bytes:
    """Return a picture encoded in a format that Pillow writes."""
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(
    width: int, height: int, pixels: bytes, *, before: bytes = b"", color: int = 2, bits: int = 8
) -> bytes:
    """A PNG of compressed `pixels`; `color` 0 is gray, 2 RGB, 6 RGBA; `before` are more chunks."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def zeros(length: int) -> bytes:
    """So many zeros, compressed: a thousandth of them."""
    # What follows a full flush knows nothing of what stood before: one megabyte serves for all.
    megabytes = _deflated(1 << 20, zlib.Z_FULL_FLUSH) * (length >> 20)
    rest = _deflated(length & ((1 << 20) - 1), zlib.Z_FINISH)
    checksum = (length % 65_521) << 16 | 1
    return b"\x78\xda" + megabytes + rest + struct.pack(">I", checksum)


def _deflated(length: int, flush: int) -> bytes:
    compressor = zlib.compressobj(9, wbits=-15)
    return compressor.compress(bytes(length)) + compressor.flush(flush)


def tiff(entries: Sequence[Entry], data: bytes = b"", order: str = "<") -> bytes:
    """A TIFF of these tags (tag, type, count, value of four bytes); `data` begins at byte 8."""
    folder = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in sorted(entries):
        folder += struct.pack(f"{order}HHI", tag, kind, count) + value
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}I", 8 + len(data)) + data + folder + bytes(4)


def long(value: int) -> bytes:
    return struct.pack("<I", value)


def jpeg_of_scans(count: int, side: int = 64) -> bytes:
    """A progressive JPEG whose second scan comes again so often."""
    data = saved(Image.new("RGB", (side, side), "red"), "JPEG", progressive=True)
    starts = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    head, scan = data[: starts[1]], data[starts[1] : starts[2]]
    return head + scan * count + data[starts[1] :]


def jpeg_after(segments: bytes) -> bytes:
    """A sound JPEG with these bytes before its first segment."""
    return b"\xff\xd8" + segments + saved(Image.new("RGB", (10, 10), "red"), "JPEG")[2:]


def jpeg_segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def gif_after(blocks: bytes, size: tuple[int, int] = (10, 10)) -> bytes:
    """A GIF of ten by ten pixels with these bytes before its frame."""
    screen = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + bytes(6)
    return screen + blocks + b"," + struct.pack("<HHHHB", 0, 0, 10, 10, 0) + b"\2\2\x4c\1\0;"


def bmp_of_runs(runs: int, side: int = 5_000) -> bytes:
    """A run-length encoded BMP that says "end of line" and nothing else."""
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1_024)
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return head + info + bytes(1_024) + bytes(2) * runs


def animation(frames: int, kind: str) -> bytes:
    pictures = [Image.new("RGB", (8, 8), (at % 256, 0, 255 - at % 256)) for at in range(frames)]
    encoded = io.BytesIO()
    pictures[0].save(encoded, kind, save_all=True, append_images=pictures[1:])
    return encoded.getvalue()


_EXIF = b"Exif\0\0" + b"x" * 60_000
_TINY = zeros(310)
_TURNS = tiff([(0x112, SHORT, 1_000_000, long(8))], b"\1\0" * 1_000_000)

# What a decoder of these limits must refuse: 50 megapixels, as many bytes.
REFUSED: dict[str, Callable[[], bytes]] = {
    "png of 3.6 gigapixels": lambda: png(60_000, 60_000, _TINY),
    "png of 50 million pixels in a row": lambda: png(50_000_000, 1, zeros(50_000_001), color=0),
    "png of 50 million rows of a pixel": lambda: png(1, 50_000_000, zeros(100_000_000), color=0),
    "png of a million chunks": lambda: png(10, 10, _TINY, before=chunk(b"teXt", b"") * 1_000_000),
    "png of a profile of a gigabyte": lambda: png(
        10, 10, _TINY, before=chunk(b"iCCP", b"k\0\0" + zeros(1 << 30))
    ),
    "png of a text of a gigabyte": lambda: png(
        10, 10, _TINY, before=chunk(b"zTXt", b"k\0\0" + zeros(1 << 30))
    ),
    "gif of a screen of 4.3 gigapixels": lambda: gif_after(b"", (65_535, 65_535)),
    "gif of two million blocks": lambda: gif_after(b"!\x01\x01c\0" * 2_000_000),
    "gif of three million bytes between blocks": lambda: gif_after(b"x" * 3_000_000),
    "jpeg of three million bytes of padding": lambda: jpeg_after(b"\xff" * 3_000_000),
    "jpeg of a million segments": lambda: jpeg_after(jpeg_segment(0xE5, b"") * 1_000_000),
    "jpeg of exif in 40 parts": lambda: jpeg_after(jpeg_segment(0xE1, _EXIF) * 40),
    "jpeg of 5,000 scans": lambda: jpeg_of_scans(5_000),
    "bmp of two million line ends": lambda: bmp_of_runs(2_000_000),
}
# What looks as bad and is decoded at no cost.
HARMLESS: dict[str, Callable[[], bytes]] = {
    "png of ten pixels that unpacks to a gigabyte": lambda: png(10, 10, zeros(1 << 30)),
    "png of exif of a million orientations": lambda: png(
        10, 10, _TINY, before=chunk(b"eXIf", _TURNS)
    ),
    "gif of 2,000 frames": lambda: animation(2_000, "GIF"),
    "webp of 500 frames": lambda: animation(500, "WEBP"),
    "jpeg of 50 scans": lambda: jpeg_of_scans(50),
    "jpeg of exif in 20 parts": lambda: jpeg_after(jpeg_segment(0xE1, _EXIF) * 20),
}
