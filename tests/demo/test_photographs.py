"""Pictures come in the sizes and formats of a real shop, without the studio's mistakes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from enrich.demo.formats import ORIENTATION_TAG
from enrich.demo.photographs import photograph


def test_formats_and_sizes_are_those_of_a_real_shop(
    demo: Path, decodes: Callable[[Path], bool]
) -> None:
    formats, sizes = set(), set()
    for path in filter(decodes, (demo / "images").iterdir()):
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION_TAG, 1) != 1
            formats.add((image.format, image.mode, turned))
            sizes.add(ImageOps.exif_transpose(image).height)
    assert formats == {
        ("JPEG", "RGB", False),
        ("JPEG", "RGB", True),
        ("JPEG", "L", False),
        ("JPEG", "CMYK", False),
        ("PNG", "RGB", False),
        ("PNG", "RGBA", False),
        ("PNG", "P", False),
        ("WEBP", "RGB", False),
    }
    assert min(sizes) <= 96 and max(sizes) >= 800


def test_no_shadow_falls_above_a_model_cut_by_the_frame() -> None:
    black = Image.new("RGB", (60, 90), (0, 0, 0))
    opaque = Image.new("L", black.size, 255)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        picture, _ = photograph(black, opaque, (200, 200), on_edge=True, rng=rng)
        top = np.asarray(picture, dtype=float)[0].mean(axis=-1)
        assert np.ptp(top) < 25
