"""Image files as no shop should deliver them: a seed makes one, the same every time.

Sound pictures in every format that shops deliver, damaged in one of many ways, and files made to
cost far more than they weigh.
"""

import random
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import costly_images
import numpy as np
from costly_images import png, saved, zeros
from PIL import Image

_PHOTOGRAPHS = Path(__file__).parents[2] / "demo" / "photographs"
_PICTURES = 6
_ORIENTATION = 0x0112  # EXIF
_LONGEST_SIDE_PX = 160
# A picture of 50 megapixels costs what 200 others do.
_LARGE_EVERY = 250

Random = random.Random


class MutatedImage(NamedTuple):
    """A file and how it came about; sound ones have to be decoded."""

    kind: str
    data: bytes
    is_sound: bool = False


def mutated_image(seed: int) -> MutatedImage:
    """Returns the file of a seed."""
    chance = Random(seed)
    if seed % _LARGE_EVERY == _LARGE_EVERY - 1:
        return MutatedImage("50 megapixels", _large(seed // _LARGE_EVERY), is_sound=True)
    kinds = list(_KINDS)
    kind = kinds[seed % len(kinds)]
    return MutatedImage(kind, _KINDS[kind](chance), kind in _SOUND)


@cache
def _pictures() -> list[Image.Image]:
    files = sorted(_PHOTOGRAPHS.iterdir())[:_PICTURES]
    pictures = [Image.open(file).convert("RGB") for file in files]
    for picture in pictures:
        picture.thumbnail((_LONGEST_SIDE_PX, _LONGEST_SIDE_PX))
    return pictures


def _sixteen_bit(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def _with_alpha(picture: Image.Image) -> Image.Image:
    clear = picture.copy()
    clear.putalpha(picture.convert("L"))
    return clear


def _rotated(picture: Image.Image, turn: int) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = turn
    return saved(picture, "JPEG", exif=exif)


def _animated(picture: Image.Image, kind: str) -> bytes:
    others = [picture.rotate(30 * at) for at in range(1, 6)]
    return saved(picture, kind, save_all=True, append_images=others)


_ENCODINGS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda one: saved(one, "JPEG", quality=80),
    "jpeg progressive": lambda one: saved(one, "JPEG", progressive=True),
    "jpeg gray": lambda one: saved(one.convert("L"), "JPEG"),
    "jpeg cmyk": lambda one: saved(one.convert("CMYK"), "JPEG"),
    "jpeg rotated": lambda one: _rotated(one, 6),
    "png": lambda one: saved(one, "PNG"),
    "png alpha": lambda one: saved(_with_alpha(one), "PNG"),
    "png palette": lambda one: saved(one.quantize(64), "PNG"),
    "png 16 bit": lambda one: saved(_sixteen_bit(one), "PNG"),
    "webp": lambda one: saved(one, "WEBP"),
    "webp lossless": lambda one: saved(_with_alpha(one), "WEBP", lossless=True),
    "webp animated": lambda one: _animated(one, "WEBP"),
    "gif": lambda one: saved(one, "GIF"),
    "gif animated": lambda one: _animated(one, "GIF"),
    "bmp": lambda one: saved(one, "BMP"),
}


@cache
def _sound(encoding: str, picture: int) -> bytes:
    return _ENCODINGS[encoding](_pictures()[picture])


def _any_sound(chance: Random) -> bytes:
    return _sound(chance.choice(list(_ENCODINGS)), chance.randrange(_PICTURES))


def _of(*encodings: str) -> Callable[[Random], bytes]:
    return lambda chance: _sound(chance.choice(encodings), chance.randrange(_PICTURES))


def _flip_bits(chance: Random) -> bytes:
    data = bytearray(_any_sound(chance))
    for _ in range(chance.choice((1, 3, 10, 100))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _flip_header(chance: Random) -> bytes:
    data = bytearray(_any_sound(chance))
    for _ in range(chance.choice((1, 2, 5))):
        data[chance.randrange(min(len(data), 120))] = chance.randrange(256)
    return bytes(data)


def _cut(chance: Random) -> bytes:
    data = _any_sound(chance)
    return data[: chance.randrange(1, len(data))]


def _cut_the_front(chance: Random) -> bytes:
    data = _any_sound(chance)
    return data[chance.randrange(1, len(data)) :]


def _blank(chance: Random) -> bytes:
    data = bytearray(_any_sound(chance))
    begin = chance.randrange(len(data))
    length = min(chance.choice((16, 512, 10_000)), len(data) - begin)
    data[begin : begin + length] = bytes([chance.choice((0, 255))]) * length
    return bytes(data)


def _insert(chance: Random) -> bytes:
    data = _any_sound(chance)
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.choice((1, 64, 4_096))) + data[at:]


def _splice(chance: Random) -> bytes:
    first, second = _any_sound(chance), _any_sound(chance)
    return first[: chance.randrange(len(first))] + second[chance.randrange(len(second)) :]


def _repeat(chance: Random) -> bytes:
    data = _any_sound(chance)
    begin = chance.randrange(len(data))
    part = data[begin : begin + chance.choice((8, 200, 2_000))]
    return data[:begin] + part * chance.choice((2, 50)) + data[begin:]


def _other_type(chance: Random) -> bytes:
    return chance.choice(
        (
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
            b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
            b"%PDF-1.7\n" + chance.randbytes(500),
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n",
            b"PK\3\4" + chance.randbytes(500),
            b"\x1f\x8b\x08" + chance.randbytes(500),
            b"ID3\3\0" + chance.randbytes(500),
            b"P6 64 64 255 " + chance.randbytes(3 * 64 * 64),
            b"8BPS\0\1" + bytes(500),
            b"\0\0\1\0\1\0" + chance.randbytes(500),
            b"\0\0\0 ftypavif" + chance.randbytes(500),
            b"\x7fELF" + chance.randbytes(500),
            b"PAR1" + chance.randbytes(500),
            b"\x80\4cos\nsystem\n(S'true'\ntR.",
            chance.randbytes(chance.choice((1, 3, 100, 20_000))),
        )
    )


def _zero_bytes(chance: Random) -> bytes:
    return bytes(chance.choice((1, 2, 16, 1_000, 1_000_000)))


def _absurd_size(chance: Random) -> bytes:
    """A header that claims another size than that of the pixels behind it."""
    width, height = (chance.choice((0, 1, 7, 9_999, 65_535, 2**31 - 1, 2**32 - 1)) for _ in "xy")
    kind = chance.choice(("png", "gif", "bmp", "jpeg", "webp"))
    if kind == "png":
        bits, color = chance.choice((1, 8, 16)), chance.choice((0, 2, 3, 4, 6))
        return png(width, height, zeros(chance.choice((10, 10_000))), color=color, bits=bits)
    if kind == "gif":
        return costly_images.gif_after(b"", (width & 0xFFFF, height & 0xFFFF))
    data = bytearray(_sound("jpeg" if kind == "jpeg" else kind, chance.randrange(_PICTURES)))
    if kind == "bmp":
        struct.pack_into("<II", data, 18, width, height)
    elif kind == "jpeg":
        frame = data.index(b"\xff\xc0")
        struct.pack_into(">HH", data, frame + 5, height & 0xFFFF, width & 0xFFFF)
    else:
        struct.pack_into("<HH", data, 26, width & 0xFFFF, height & 0xFFFF)
    return bytes(data)


def _costly(chance: Random) -> bytes:
    return _made(chance.choice(list(costly_images.REFUSED)))


def _harmless(chance: Random) -> bytes:
    return _made(chance.choice(list(costly_images.HARMLESS)))


@cache
def _made(name: str) -> bytes:
    return (costly_images.REFUSED | costly_images.HARMLESS)[name]()


@cache
def _large(number: int) -> bytes:
    side = 7_071
    variants = (
        lambda: png(side, side, zeros(side * (3 * side + 1))),
        lambda: png(side, side, zeros(side * (4 * side + 1)), color=6),
        lambda: png(side, side, zeros(side * (2 * side + 1)), color=0, bits=16),
        lambda: saved(Image.new("RGB", (side, side), "red"), "JPEG", quality=60),
        lambda: saved(Image.new("RGB", (side, side), "red"), "JPEG", progressive=True),
        lambda: saved(Image.new("CMYK", (side, side)), "JPEG", quality=60),
        lambda: saved(Image.new("RGB", (side, side), "red"), "WEBP", quality=10, method=0),
        lambda: saved(Image.new("L", (side, side), 99), "GIF"),
    )
    return variants[number % len(variants)]()


_SOUND: dict[str, Callable[[Random], bytes]] = {
    "sound": _any_sound,
    "animated": _of("gif animated", "webp animated"),
    "16 bit": _of("png 16 bit"),
    "CMYK": _of("jpeg cmyk"),
    "EXIF rotated": lambda chance: _rotated(_pictures()[0], chance.randrange(2, 9)),
    "looks costly": _harmless,
}
_DAMAGED: dict[str, Callable[[Random], bytes]] = {
    "bits flipped": _flip_bits,
    "header bytes changed": _flip_header,
    "end cut off": _cut,
    "front cut off": _cut_the_front,
    "blanked": _blank,
    "bytes inserted": _insert,
    "spliced with another": _splice,
    "repeated in part": _repeat,
    "another type": _other_type,
    "empty": lambda chance: b"",
    "zero bytes": _zero_bytes,
    "absurd size": _absurd_size,
    "costly": _costly,
}
_KINDS = {**_DAMAGED, **_SOUND}
