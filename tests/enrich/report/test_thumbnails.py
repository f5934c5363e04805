"""Thumbnails: small, encoded anew, and never a reason to fail."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from enrich.images.settings import ImageLimits
from enrich.images.store import ImageStore
from enrich.report.page import MOST_BYTES, SIDE_PX, make_thumbnail, make_thumbnails

WriteJpeg = Callable[..., Path]


def decoded(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_thumbnail_is_the_picture_within_its_side(tmp_path, write_jpeg):
    write_jpeg(tmp_path / "large.jpg", side=900)
    wide = Image.open(tmp_path / "large.jpg").crop((0, 0, 900, 450))
    wide.save(tmp_path / "wide.jpg")

    uri = make_thumbnail(ImageStore(str(tmp_path)), "wide.jpg")

    assert uri
    picture = decoded(uri)
    assert picture.size == (SIDE_PX, SIDE_PX // 2)
    red, green, blue = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert (abs(red - 200) < 15, abs(green - 30) < 15, abs(blue - 30) < 15) == (True,) * 3


def test_what_a_file_carries_beside_its_pixels_is_left_behind(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "<script>secret</script>"
    picture = Image.new("RGB", (300, 300), "red")
    picture.save(
        tmp_path / "a.jpg", exif=exif, comment=b"<script>secret</script>", icc_profile=b"secret" * 9
    )
    assert b"secret" in (tmp_path / "a.jpg").read_bytes()

    uri = make_thumbnail(ImageStore(str(tmp_path)), "a.jpg")

    assert uri
    assert b"secret" not in base64.b64decode(uri.split(",")[1])
    assert not decoded(uri).getexif()


def test_picture_that_cannot_be_read_is_left_out(tmp_path, write_jpeg):
    write_jpeg(tmp_path / "shop" / "good.jpg")
    write_jpeg(tmp_path / "outside.jpg")
    write_jpeg(tmp_path / "shop" / "large.jpg", side=500)
    (tmp_path / "shop" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (tmp_path / "shop" / "page.svg").write_text("<svg><script>window.owned = true</script></svg>")
    store = ImageStore(str(tmp_path / "shop"), limits=ImageLimits(max_pixels=100_000))
    unreadable = ["../outside.jpg", "gone.jpg", "broken.jpg", "page.svg", "large.jpg"]
    assert list(make_thumbnails(store, ["good.jpg", *unreadable, "good.jpg"])) == ["good.jpg"]


def test_a_picture_of_noise_has_no_more_bytes_than_allowed(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    uri = make_thumbnail(ImageStore(str(tmp_path)), "a.png")

    assert uri
    assert len(base64.b64decode(uri.split(",")[1])) <= MOST_BYTES
