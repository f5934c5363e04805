"""Pictures and texts vary, and keep what they show and say."""

import numpy as np
import pytest
import torch

from enrich.training.augmentation import vary
from enrich.training.batches import other_group


def _disc(color: tuple[int, int, int]) -> torch.Tensor:
    """One white picture of 64 px with a disc of one color left of its middle."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    inside = (rows - 32) ** 2 + (columns - 24) ** 2 < 12**2
    picture = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    for channel, value in enumerate(color):
        picture[channel][inside] = value
    return picture


def test_pictures_are_mirrored_and_moved_and_keep_their_color() -> None:
    pixels = _disc((180, 40, 60)).expand(40, -1, -1, -1)
    varied = vary(pixels, torch.Generator().manual_seed(0))
    assert varied.dtype == torch.uint8 and varied.shape == pixels.shape
    on_the_right = 0
    for picture in varied.float():
        # Not by darkness: a backdrop may be as dark as the product.
        inside = picture[0] > picture[1] + 80
        assert 150 < inside.sum() < 1000, "the product stays in view, at about its size"
        red, green, blue = (picture[channel][inside].mean() for channel in range(3))
        assert red > green + 100 and red > blue + 60
        on_the_right += int(inside.nonzero()[:, 1].float().mean() > 32)
    assert 8 < on_the_right < 32


def test_what_comes_into_view_from_outside_is_white() -> None:
    # Not white enough for another backdrop.
    pixels = torch.full((40, 3, 32, 32), 240, dtype=torch.uint8)
    corners = vary(pixels, torch.Generator().manual_seed(0))[:, :, 0, 0]
    # Darkened by at most the variation of the light.
    assert corners.min() > 200


def test_another_backdrop_keeps_the_white_within_products() -> None:
    ring = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    ring[:, 20:44, 20:44] = 60
    ring[:, 26:38, 26:38] = 255
    varied = vary(ring.expand(60, -1, -1, -1), torch.Generator().manual_seed(0)).float().mean(1)
    around, within = varied[:, 32, 6], varied[:, 22:42, 22:42].amax((1, 2))
    darker = around < within - 15
    assert 10 < darker.sum() < 30
    assert within.min() > 210, "the product is as it was"
    assert around[darker].min() > 120, "a light backdrop"


def test_a_bright_color_is_no_backdrop() -> None:
    yellow = torch.full((40, 3, 32, 32), 250, dtype=torch.uint8)
    yellow[:, 2] = 0
    middles = vary(yellow, torch.Generator().manual_seed(0))[:, :2, 12:20, 12:20]
    # Darkened by at most the variation of the light.
    assert middles.min() > 215


def test_one_seed_varies_pictures_in_one_way() -> None:
    pixels = _disc((10, 200, 30)).expand(8, -1, -1, -1)
    first, again = (vary(pixels, torch.Generator().manual_seed(3)) for _ in range(2))
    other = vary(pixels, torch.Generator().manual_seed(4))
    assert first.equal(again) and not first.equal(other)


@pytest.mark.parametrize("sizes", [[1] * 50, [7, 1, 3, 9, 2, 2], [5, 5], [3, 1, 1, 1]])
def test_no_product_is_paired_with_its_own_group(sizes: list[int]) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    partner, is_other = other_group(groups)
    assert sorted(partner) == list(range(len(groups)))
    assert is_other.all() and (groups[partner] != groups).all()


def test_a_group_of_more_than_half_finds_partners_for_some() -> None:
    partner, is_other = other_group(np.array([4, 4, 4, 0]))
    assert is_other.sum() == 2 and sorted(partner) == [0, 1, 2, 3]
