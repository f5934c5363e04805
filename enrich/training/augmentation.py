"""Varies pictures in ways that leave a product's color, pattern and style what they are."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

_SCALE = math.log(1.4)
_STRETCH = 0.1
_TURN_RADIANS = 0.12
_SHIFT = 0.2  # of half the picture
_BRIGHTNESS = 0.1
_GAMMA = 0.15
_BACKDROP_SHARE = 0.4
_DARKEST_BACKDROP = 0.45
_TINT = 0.1
_PLAIN_WHITE = 244 / 255
_BLURRED_SHARE = 0.25
_BLURRED_PX = 72  # the height of many a shop's thumbnails


def vary(pixels: UInt8[Tensor, "B 3 S S"], random: torch.Generator) -> UInt8[Tensor, "B 3 S S"]:
    """Mirrors, scales, turns and shifts each picture a little, and varies its light and sharpness.

    Some stand before another backdrop than plain white, as in shops that photograph so. What comes
    into view from outside a picture is white, as the padding of `to_pixels` is.
    """
    scaled = pixels.float() / 255
    elsewhere = torch.rand(len(pixels), generator=random) < _BACKDROP_SHARE
    scaled[elsewhere] *= _backdrops(scaled[elsewhere], random)
    grid = F.affine_grid(_placements(len(pixels), random), list(pixels.shape), align_corners=False)
    moved = 1 - F.grid_sample(1 - scaled, grid, align_corners=False, padding_mode="zeros")
    brightness = (1 + _draw(len(pixels), _BRIGHTNESS, random)).view(-1, 1, 1, 1)
    gamma = _draw(len(pixels), _GAMMA, random).exp().view(-1, 1, 1, 1)
    lit = (moved.clamp(1e-4, 1) ** gamma * brightness).clamp(0, 1)
    blurred = torch.rand(len(pixels), generator=random) < _BLURRED_SHARE
    if blurred.any():
        lit[blurred] = _blur(lit[blurred])
    return (lit * 255).round().to(torch.uint8)


def _draw(count: int, most: float, random: torch.Generator) -> Float[Tensor, " B"]:
    """Returns `count` numbers between -`most` and `most`."""
    return (2 * torch.rand(count, generator=random) - 1) * most


def _placements(count: int, random: torch.Generator) -> Float[Tensor, "B 2 3"]:
    """Returns where each output pixel is read from: affine maps of the square [-1, 1]."""
    scale = _draw(count, _SCALE, random).exp()
    stretch = _draw(count, _STRETCH, random).exp()
    turn = _draw(count, _TURN_RADIANS, random)
    mirror = torch.randint(0, 2, (count,), generator=random) * 2 - 1
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0] = turn.cos() / scale * stretch * mirror
    maps[:, 0, 1] = -turn.sin() / scale
    maps[:, 1, 0] = turn.sin() / scale * mirror
    maps[:, 1, 1] = turn.cos() / scale / stretch
    maps[:, 0, 2], maps[:, 1, 2] = (_draw(count, _SHIFT, random) for _ in range(2))
    return maps


def _backdrops(
    pixels: Float[Tensor, "B 3 S S"], random: torch.Generator
) -> Float[Tensor, "B 3 S S"]:
    """Returns what to multiply pictures by: a light backdrop where there is plain white, else 1."""
    white = (pixels.amin(1) >= _PLAIN_WHITE).float()
    # Backdrop is what is white all the way to an edge of the picture, along its row or its column.
    # A white product is hardly ever that white, and hardly ever touches an edge.
    around = torch.stack(
        [
            line
            for axis in (1, 2)
            for line in (white.cumprod(axis), white.flip(axis).cumprod(axis).flip(axis))
        ]
    ).amax(0)
    # The change from product to backdrop is soft in the picture, and stays so.
    around = F.avg_pool2d(around.unsqueeze(1), 3, stride=1, padding=1, count_include_pad=False)
    ends = torch.empty(2, len(pixels), 1, 1, 1).uniform_(_DARKEST_BACKDROP, 1, generator=random)
    tint = torch.empty(len(pixels), 3, 1, 1).uniform_(-_TINT, _TINT, generator=random)
    height = torch.linspace(0, 1, pixels.shape[2]).view(1, 1, -1, 1)
    backdrop = (torch.lerp(ends[0], ends[1], height) + tint).clamp(0, 1)
    return 1 - around * (1 - backdrop)


def _blur(pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    small = F.interpolate(pixels, size=_BLURRED_PX, mode="bilinear", antialias=True)
    return F.interpolate(small, size=pixels.shape[-1], mode="bicubic").clamp(0, 1)
