"""Pictures come out upright, on white and as RGB; costly ones are refused for next to nothing."""

import io
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from costly_images import HARMLESS, REFUSED, jpeg_of_scans
from memory import peak_mb, reset_peak
from PIL import Image

from enrich.images import decoding, preprocess
from enrich.images.decoding import LONGEST_EXIF, decode, decode_pixels
from enrich.images.preprocess import to_pixels
from enrich.images.settings import ImageLimits, ImageProblem, ImageShape
from enrich.records import Status

pytestmark = pytest.mark.filterwarnings("ignore")


def _encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _decode(data, *, target_px=64, max_pixels=1_000_000):
    return decode(data, limits=ImageLimits(max_pixels=max_pixels), target_px=target_px)


def _noise(side=100):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _png_that_claims(width, height):
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR" + header) + _chunk(b"IDAT" + zlib.compress(b""))


def _chunk(content):
    checksum = zlib.crc32(content).to_bytes(4, "big")
    return (len(content) - 4).to_bytes(4, "big") + content + checksum


_JPEG = _encode(_noise(), "JPEG")


_PNG = _encode(_noise(), "PNG")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (_JPEG[: len(_JPEG) // 2], Status.IMAGE_CORRUPT),
        (b"P6 1 1 255 red", Status.IMAGE_CORRUPT),
        (_png_that_claims(1_001, 1_000), Status.IMAGE_TOO_LARGE),
    ],
    ids=["jpeg cut", "a format not allowed", "one row too many"],
)
def test_bad_bytes_are_a_status(data, status):
    with pytest.raises(ImageProblem) as problem:
        _decode(data)
    assert problem.value.status is status
    assert str(problem.value)


@pytest.mark.parametrize("side", [1_001, 20_000])
def test_a_picture_over_the_limit_names_the_setting(side):
    with pytest.raises(ImageProblem, match=r"max_pixels = 1,000,000") as problem:
        _decode(_png_that_claims(side, side))
    assert problem.value.status is Status.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (_encode(_noise(), "AVIF"), "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (_encode(_noise(), "JPEG2000"), "JPEG 2000"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><title>404</title>", "a web page or SVG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a web page or SVG"),
        (b"\xff\xd8\xff\xe0", "a damaged JPEG"),
        (b"GIF89a", "a damaged GIF"),
        (b"BM", "a damaged BMP"),
        (_encode(_noise(), "TIFF"), "TIFF"),
        (_encode(_noise(), "PNG").replace(b"IHDR", b"IHDX"), "a damaged PNG"),
        (b"P6 1 1 255 red", "no image of a known format"),
    ],
)
def test_what_is_read_by_no_decoder_is_named_with_what_is_wanted(data, found):
    with pytest.raises(ImageProblem) as problem:
        _decode(data)
    wanted = "expected JPEG, PNG, WEBP, GIF, BMP"
    assert str(problem.value) == f"{found} ({len(data):,} bytes), {wanted}"


def test_a_picture_of_exactly_the_allowed_pixels_is_decoded():
    assert _decode(_PNG, max_pixels=10_000).size == (100, 100)
    with pytest.raises(ImageProblem, match=r"100 x 100 px is over max_pixels = 9,999"):
        _decode(_PNG, max_pixels=9_999)


def _center(image):
    assert image.mode == "RGB"
    return image.getpixel((image.width // 2, image.height // 2))


def test_the_transparent_gray_of_16_bits_is_white_and_no_other_is():
    gray = np.array([[0, 0x8000], [0x4000, 0xFFFF]], dtype=np.uint16).repeat(8, 0).repeat(8, 1)
    decoded = _decode(_encode(Image.fromarray(gray), "PNG", transparency=0x8000))
    assert [decoded.getpixel(at)[0] for at in ((0, 0), (15, 0), (0, 15))] == [0, 255, 63]


@pytest.mark.parametrize("pixels", [0, 178_956_971])
def test_a_limit_that_could_not_be_kept_is_refused(pixels):
    with pytest.raises(ValueError, match="max_pixels"):
        ImageLimits(max_pixels=pixels)


def test_transparency_lands_on_white():
    side = (20, 20)
    clear = Image.new("RGBA", side, (255, 0, 0, 0))
    assert _center(_decode(_encode(clear, "PNG"))) == (255, 255, 255)
    half = Image.new("RGBA", side, (0, 0, 0, 128))
    assert _center(_decode(_encode(half, "PNG"))) == (127, 127, 127)
    gray = Image.new("LA", side, (0, 0))
    assert _center(_decode(_encode(gray, "PNG"))) == (255, 255, 255)
    webp = _encode(clear, "WEBP", lossless=True)
    assert _center(_decode(webp)) == (255, 255, 255)


def test_a_palette_with_transparency_lands_on_white_and_keeps_its_other_colors():
    image = Image.new("P", (20, 20), 0)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(1, (0, 0, 20, 5))
    for kind in ("PNG", "GIF"):
        decoded = _decode(_encode(image, kind, transparency=0))
        assert _center(decoded) == (255, 255, 255)
        assert decoded.getpixel((10, 2)) == (200, 10, 10)


def test_cmyk_and_gray_become_rgb():
    red = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    assert _center(_decode(_encode(red, "JPEG"))) == pytest.approx((255, 0, 0), abs=3)
    gray = Image.new("L", (20, 20), 90)
    for kind in ("JPEG", "PNG"):
        assert _center(_decode(_encode(gray, kind))) == pytest.approx((90, 90, 90), abs=1)
    assert _center(_decode(_encode(Image.new("1", (20, 20), 1), "PNG"))) == (255, 255, 255)


@pytest.mark.parametrize(("value", "wanted"), [(0, 0), (32_768, 127), (65_535, 255)])
def test_gray_of_16_bits_keeps_its_brightness(value, wanted):
    image = Image.fromarray(np.full((20, 20), value, dtype=np.uint16))
    assert _center(_decode(_encode(image, "PNG"))) == pytest.approx((wanted,) * 3, abs=1)


def test_a_picture_taken_sideways_stands_upright():
    lying = Image.new("RGB", (64, 32), "blue")
    lying.paste((255, 0, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    upright = _decode(_encode(lying, "JPEG", exif=exif, quality=95))
    assert upright.size == (32, 64)
    assert upright.getpixel((16, 8)) == pytest.approx((254, 0, 0), abs=4)
    assert upright.getpixel((16, 56)) == pytest.approx((0, 0, 254), abs=4)


@pytest.mark.parametrize(("more", "size"), [(0, (20, 40)), (LONGEST_EXIF, (40, 20))])
def test_of_tags_of_megabytes_none_is_read(more, size):
    exif = Image.Exif()
    exif[0x0112] = 6
    tags = exif.tobytes() + bytes(more)
    assert _decode(_encode(Image.new("RGB", (40, 20), "blue"), "PNG", exif=tags)).size == size


def test_a_large_jpeg_is_decoded_smaller_to_nearly_the_same_pixels():
    waves = np.sin(np.linspace(0, 20, 1_600))[None, :, None] * np.array([90, 60, -90]) + 128
    large = Image.fromarray(np.repeat(waves, 1_200, axis=0).astype(np.uint8))
    data = _encode(large, "JPEG", quality=95)
    scaled = _decode(data, target_px=128, max_pixels=10_000_000)
    full = _decode(data, target_px=5_000, max_pixels=10_000_000)
    assert full.size == (1_600, 1_200)
    assert scaled.size == (400, 300)
    shape = ImageShape(size_px=128, fit="pad", mean=(0, 0, 0), std=(1, 1, 1))
    gap = to_pixels(scaled, shape).astype(int) - to_pixels(full, shape)
    assert np.abs(gap).mean() < 1.5


@pytest.mark.parametrize("size", [(1_600, 300), (300, 1_600)])
def test_a_jpeg_is_decoded_no_smaller_than_twice_what_is_wanted_of_its_shorter_side(size):
    data = _encode(Image.new("RGB", size, "red"), "JPEG")
    assert _decode(data, target_px=128).size == size
    assert sorted(_decode(data, target_px=64).size) == [150, 800]


@pytest.mark.parametrize(
    ("kind", "options"), [("WEBP", {}), ("JPEG", {"progressive": True}), ("PNG", {})]
)
def test_a_sound_picture_for_which_memory_is_short_is_to_be_asked_for_again(
    kind, options, tmp_path
):
    file = tmp_path / "green"
    Image.new("RGB", (4_000, 3_000), "green").save(file, kind, **options)
    program = f"""if True:
        import resource
        from pathlib import Path
        from PIL import Image
        from enrich.images.decoding import decode
        from enrich.images.settings import ImageLimits, ImageProblem
        Image.init()
        data = Path("{file}").read_bytes()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (16 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        try:
            decode(data, limits=ImageLimits(), target_px=128)
        except ImageProblem as problem:
            print(problem.status, "is said of", problem)
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout.startswith(Status.IMAGE_UNREADABLE), ended.stdout + ended.stderr
    assert "memory" in ended.stdout.lower()


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_a_sound_picture_with_damaged_tags_is_read(kind):
    encoded = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 20, 20)).save(encoded, kind, exif=b"garbage!", lossless=True)
    assert _decode(encoded.getvalue()).size == (40, 30)


SHAPE = ImageShape(size_px=128, fit="pad", mean=(0, 0, 0), std=(1, 1, 1))


def decoded(data, target_px=128, **limits):
    return decode(data, limits=ImageLimits(**limits), target_px=target_px)


def problem(data, **limits):
    with pytest.raises(ImageProblem) as found:
        decoded(data, **limits)
    return found.value


@pytest.mark.parametrize("name", REFUSED)
def test_a_costly_file_is_refused_in_a_moment_and_in_little_memory(name):
    data = REFUSED[name]()
    reset_peak()
    before, begin = peak_mb(), time.process_time()
    # Pillow itself refuses texts and profiles that unpack to more than a megabyte.
    unpacks = name.endswith("of a gigabyte")
    wanted = Status.IMAGE_CORRUPT if unpacks else Status.IMAGE_TOO_LARGE
    assert problem(data).status is wanted
    assert time.process_time() - begin < 10
    assert peak_mb() - before < 200


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_costly_is_decoded(name):
    data = HARMLESS[name]()
    reset_peak()
    before, begin = peak_mb(), time.process_time()
    assert max(decoded(data).size) <= 64
    assert time.process_time() - begin < 5
    assert peak_mb() - before < 200


def test_a_video_behind_a_jpeg_does_not_count_as_scans():
    video = np.random.default_rng(0).bytes(20_000_000)
    assert video.count(b"\xff\xda") > 256
    picture = jpeg_of_scans(1)
    assert decoded(picture + video).size == (64, 64)


def test_a_picture_of_several_jpegs_is_read_as_its_first():
    encoded = io.BytesIO()
    first, second = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (32, 32), "blue")
    first.save(encoded, "MPO", save_all=True, append_images=[second])
    assert decoded(encoded.getvalue()).size == (64, 48)


def _png(width, height):
    encoded = io.BytesIO()
    Image.new("RGBA", (width, height), (200, 30, 30, 255)).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


@pytest.mark.parametrize(
    ("module", "step"), [(decoding, "_to_rgb"), (preprocess, "to_pixels")], ids=["rgb", "pixels"]
)
def test_large_pictures_become_pixels_one_at_a_time(monkeypatch, module, step):
    data, do_step = _png(20_000, 500), getattr(module, step)
    at_once: list[int] = []
    inside = 0

    def watched(*given):
        nonlocal inside
        inside += 1
        at_once.append(inside)
        time.sleep(0.3)
        try:
            return do_step(*given)
        finally:
            inside -= 1

    monkeypatch.setattr(module, step, watched)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda one: decode_pixels(one, limits=ImageLimits(), shape=SHAPE), [data] * 4)
        )

    assert at_once == [1] * 4


@pytest.mark.parametrize(
    ("module", "step"), [(decoding, "_to_rgb"), (preprocess, "to_pixels")], ids=["rgb", "pixels"]
)
def test_a_picture_that_memory_does_not_suffice_for_is_asked_about_again(monkeypatch, module, step):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(module, step, fail)
    with pytest.raises(ImageProblem) as found:
        decode_pixels(_png(10, 10), limits=ImageLimits(), shape=SHAPE)
    assert found.value.status is Status.IMAGE_UNREADABLE


def test_large_pictures_come_out_small_and_with_the_pixels_they_had(monkeypatch):
    waves = np.sin(np.linspace(0, 20, 3_600))[None, :, None] * np.array([90, 60, -90]) + 128
    encoded = io.BytesIO()
    picture = Image.fromarray(np.repeat(waves, 2_400, axis=0).astype(np.uint8))
    picture.save(encoded, "PNG", compress_level=1)
    small = decoded(encoded.getvalue())
    assert small.size == (600, 400)
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 10**9)
    whole = decoded(encoded.getvalue())
    assert whole.size == (3_600, 2_400)
    assert np.abs(to_pixels(small, SHAPE).astype(int) - to_pixels(whole, SHAPE)).mean() < 0.5
