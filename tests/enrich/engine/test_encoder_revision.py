"""What texts and pictures become before the encoder reads them stays the same in a revision.

Vectors are kept for years. Another normalisation, decoding or resizing would make others of the
same product, and nobody would notice: `ENCODER_REVISION` tells stored vectors apart.
"""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enrich.classifiers.manifest import ENCODER_REVISION
from enrich.images.decoding import decode, decode_pixels
from enrich.images.settings import ImageLimits, ImageShape
from enrich.text import build_text

GOLDEN = Path(__file__).with_name("encoder_revision.json")
TEXTS = [
    ("Red  shirt", "of cotton\n"),
    ("<p>Blue&nbsp;shoes</p><style>p {}</style>", "&lt;b&gt;soft&lt;/b&gt; &amp; light"),
    ("ﬁne \uff37\uff4f\uff4f\uff4c 10²", "soft\u00adhyphen \u200bzero\ufeff width"),
    ("रंगीन कुर्ता", "Été — très chic"),
    (None, "\x00 control\x07 \ud800 surrogate"),
    ("long", "word " * 3_000),
]


def _picture(mode, width, height):
    rng = np.random.default_rng(width)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([rows * 3 + columns, columns * 2, rows + 200], axis=2)
    noisy = (waves + rng.integers(0, 30, waves.shape)) % 256
    return Image.fromarray(noisy.astype(np.uint8)).convert(mode)


def _write(picture, form, **options):
    picture.save(out := io.BytesIO(), form, **options)
    return out.getvalue()


def _turned():
    picture = _picture("RGB", 90, 60)
    exif = picture.getexif()
    exif[274] = 6
    return _write(picture, "JPEG", exif=exif)


def _sixteen_bits():
    gray = np.linspace(0, 65_535, 80 * 50).reshape(50, 80).astype(np.uint16)
    return _write(Image.fromarray(gray), "PNG")


PICTURES: dict[str, Callable[[], bytes]] = {
    "small": lambda: _write(_picture("RGB", 60, 90), "PNG"),
    "jpeg scaled by its decoder": lambda: _write(_picture("RGB", 1_200, 900), "JPEG"),
    "progressive": lambda: _write(_picture("RGB", 300, 400), "JPEG", progressive=True),
    "many megapixels": lambda: _write(_picture("RGB", 4_000, 2_200), "PNG", compress_level=1),
    "turned": _turned,
    "transparent": lambda: _write(_picture("RGBA", 70, 70), "PNG"),
    "palette": lambda: _write(_picture("P", 64, 40), "GIF"),
    "sixteen bits": _sixteen_bits,
    "cmyk": lambda: _write(_picture("CMYK", 120, 80), "JPEG"),
}


def _digest(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def _observe():
    """Returns a digest of what becomes of each text and picture."""
    found = {}
    for number, fields in enumerate(TEXTS):
        text = build_text(*fields).encode(errors="surrogatepass")
        found[f"text {number}"] = hashlib.sha256(text).hexdigest()[:16]
    for name, make in PICTURES.items():
        data, limits = make(), ImageLimits()
        found[f"{name}, decoded"] = _digest(np.array(decode(data, limits=limits, target_px=128)))
        for fit in ("pad", "crop"):
            shape = ImageShape(size_px=128, fit=fit, mean=(0.5,) * 3, std=(0.5,) * 3)
            found[f"{name}, {fit}"] = _digest(decode_pixels(data, limits=limits, shape=shape))
    return found


def test_texts_and_pictures_become_what_they_became_when_the_revision_was_new():
    found = {"revision": ENCODER_REVISION, **_observe()}
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
        pytest.fail(f"{GOLDEN} was written: look at it, and keep it")
    golden = json.loads(GOLDEN.read_text())
    assert golden.pop("revision") == found.pop("revision"), f"delete {GOLDEN}, then run again"
    changed = [name for name, digest in golden.items() if found[name] != digest]
    assert not changed, f"raise ENCODER_REVISION, delete {GOLDEN}, then run again"
    assert golden.keys() == found.keys()
