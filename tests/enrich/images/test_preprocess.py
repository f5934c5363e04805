"""A picture of any shape becomes the square that a tower sees."""

import numpy as np
import pytest
from PIL import Image

from enrich.images.preprocess import to_pixels
from enrich.images.settings import ImageShape


def _shape(fit):
    return ImageShape.model_validate(
        {"size_px": 32, "fit": fit, "mean": (0, 0, 0), "std": (1, 1, 1)}
    )


def _flag(width, height):
    """A red picture with a blue band at each end of its longer side."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    end = max(width, height) // 10
    for box in (
        ((0, 0, end, height), (width - end, 0, width, height))
        if width > height
        else ((0, 0, width, end), (0, height - end, width, height))
    ):
        image.paste((0, 0, 255), box)
    return image


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("size", [(64, 64), (10, 7), (200, 50), (1, 900), (900, 1), (1, 1)])
def test_any_size_becomes_a_square_of_bytes(fit, size):
    pixels = to_pixels(Image.new("RGB", size, (9, 20, 30)), _shape(fit))
    assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8
    assert pixels[:, 15, 15].tolist() == [9, 20, 30]


def test_padding_keeps_the_whole_picture_in_the_middle_of_white():
    wide = to_pixels(_flag(200, 100), _shape("pad"))
    assert (wide[:, :7] == 255).all() and (wide[:, -7:] == 255).all()
    assert wide[:, 16, 0].tolist() == wide[:, 16, -1].tolist() == [0, 0, 255]
    tall = to_pixels(_flag(100, 200), _shape("pad"))
    assert (tall[:, :, :7] == 255).all() and (tall[:, :, -7:] == 255).all()
    assert tall[:, 0, 16].tolist() == tall[:, -1, 16].tolist() == [0, 0, 255]


def test_cropping_takes_the_centre_square_and_nothing_white():
    for size in ((200, 100), (100, 200)):
        pixels = to_pixels(_flag(*size), _shape("crop"))
        assert (pixels[0] == 255).all() and (pixels[1:] == 0).all()


def test_the_picture_is_not_stretched():
    image = Image.new("RGB", (120, 60), "black")
    image.paste((255, 255, 255), (45, 15, 75, 45))  # a square of 30
    white = to_pixels(image, _shape("pad"))[0, 8:24] > 128
    assert white.any(0).sum() == pytest.approx(white.any(1).sum(), abs=1)


def _noise(width, height):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("side", [20, 32, 45, 64, 150, 400])
def test_pixels_are_those_of_pillow_but_for_a_grey_level_here_and_there(side):
    _assert_pixels_are_pillows(_noise(side, side))


def _assert_pixels_are_pillows(picture):
    wanted = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    for fit in ("pad", "crop"):
        found = to_pixels(picture, _shape(fit)).transpose(1, 2, 0).astype(int)
        assert np.abs(found - wanted).max() <= 1
        assert (found != wanted).mean() < 0.02


def test_a_pixels_channels_lie_side_by_side_in_memory():
    for fit in ("pad", "crop"):
        for side in (32, 90):
            pixels = to_pixels(_noise(side, side), _shape(fit))
            assert pixels.transpose(1, 2, 0).flags.c_contiguous


@pytest.mark.parametrize("size", [(32, 32), (32, 900), (900, 32)])
def test_pixels_hold_no_more_memory_than_they_need(size):
    pixels = to_pixels(Image.new("RGB", size), _shape("crop"))
    while pixels.base is not None:
        pixels = pixels.base
    assert memoryview(pixels).nbytes == 3 * 32 * 32


def test_a_picture_that_pillow_keeps_in_pieces_has_the_same_pixels():
    picture = _noise(2_100, 2_100)
    with pytest.raises(ValueError, match="not contiguous"):
        picture.__arrow_c_array__()
    _assert_pixels_are_pillows(picture)
