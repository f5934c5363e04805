"""A file that is made to cost hours or gigabytes is refused for next to nothing."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from costly_images import HARMLESS, REFUSED, jpeg_of_scans
from memory import peak_mb, reset_peak
from PIL import Image

from enrich.images import decoding, preprocess
from enrich.images.decoding import decode, decode_pixels
from enrich.images.preprocess import to_pixels
from enrich.images.settings import ImageLimits, ImageProblem, ImageShape
from enrich.records import Status

pytestmark = pytest.mark.filterwarnings("ignore")

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
