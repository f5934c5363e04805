"""EfficientNet-Lite0 in two halves, the upper one written so that a CPU trains it quickly.

Convolution gradients in bfloat16 are the trap: measured on one core with AVX-512 BF16 and PyTorch
2.15, a training step on 128 pictures takes 1.63 s through the published modules, 0.84 s in float32,
and 0.34 s here. Three things make the difference: cells stay channels-last and a 1 x 1 convolution
is a matrix product, the norms are folded into the weights on the way (their statistics are frozen),
and depthwise kernels are not trained, because their gradient alone costs more than all the rest.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from enrich.classifiers.efficientnet import (
    CHANNELS,
    LAST_OF_DEPTH,
    EfficientNetLite0,
    InvertedResidual,
    fold,
    pad_same,
)

_FIRST_UPPER_STAGE = 3
LOWER_CHANNELS = CHANNELS[:_FIRST_UPPER_STAGE]
LOWER_STRIDE = 8  # pixels a cell of the last lower map
_TRAINED = ("conv_pw.weight", "conv_pwl.weight", "bn1.bias", "bn2.bias", "bn3.bias")


def lower_maps(
    backbone: EfficientNetLite0, pixels: Float[Tensor, "B 3 S S"]
) -> list[Float[Tensor, "B _ _ _"]]:
    """Returns the maps after each lower stage, channels first."""
    return backbone.stage_maps(pixels, _FIRST_UPPER_STAGE)


def upper_maps(
    backbone: EfficientNetLite0, cells: Float[Tensor, "B H W C"]
) -> list[Float[Tensor, "B _ _ _"]]:
    """Returns the two maps that the backbone gives above the last lower one, channels last."""
    maps = []
    for number, stage in enumerate(_upper_stages(backbone), start=_FIRST_UPPER_STAGE):
        for block in stage:
            cells = _inverted_residual(block, cells)
        if number in LAST_OF_DEPTH:
            maps.append(cells)
    return maps


def upper_parameters(backbone: EfficientNetLite0) -> list[nn.Parameter]:
    """Returns what `upper_maps` has gradients for: 1 x 1 convolutions and the norms' shifts."""
    blocks = [block for stage in _upper_stages(backbone) for block in stage]
    return [block.get_parameter(name) for block in blocks for name in _TRAINED]


def _upper_stages(backbone: EfficientNetLite0) -> Any:
    return backbone.blocks[_FIRST_UPPER_STAGE:]


def _inverted_residual(block: InvertedResidual, cells: Tensor) -> Tensor:
    inner = F.relu6(_pointwise(block.conv_pw, block.bn1, cells))
    inner = F.relu6(_depthwise(block.conv_dw, block.bn2, inner))
    out = _pointwise(block.conv_pwl, block.bn3, inner)
    return cells + out if block.has_skip else out


def _pointwise(conv: nn.Conv2d, norm: nn.BatchNorm2d, cells: Tensor) -> Tensor:
    scale, shift = fold(norm)
    return F.linear(cells, conv.weight.flatten(1) * scale.unsqueeze(1), shift)


def _depthwise(conv: nn.Conv2d, norm: nn.BatchNorm2d, cells: Tensor) -> Tensor:
    scale, shift = fold(norm)
    kernel = (conv.weight * scale.view(-1, 1, 1, 1)).detach().to(cells.dtype)
    stride, size = conv.stride[0], conv.kernel_size[0]
    channels_first = cells.permute(0, 3, 1, 2)
    padding = size // 2
    if stride == 2:
        channels_first, padding = pad_same(channels_first, size, stride), 0
    out = _FrozenDepthwise.apply(channels_first, kernel, stride, padding)
    return out.permute(0, 2, 3, 1) + shift.to(cells.dtype)


class _FrozenDepthwise(torch.autograd.Function):
    """A depthwise convolution whose kernel gets no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.geometry = (x.shape, stride, padding)
        return F.conv2d(x, kernel, None, stride, padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (kernel,) = ctx.saved_tensors
        shape, stride, padding = ctx.geometry
        if stride == 1:
            # The same convolution with the kernel turned round, far quicker than the general way.
            turned = kernel.flip(-1, -2).contiguous(memory_format=torch.channels_last)
            back = F.conv2d(gradient, turned, padding=padding, groups=shape[1])
        else:
            # In bfloat16 this one takes 160 to 360 ms where float32 takes 3.
            back = conv2d_input(
                shape, kernel.float(), gradient.float(), stride, padding, groups=shape[1]
            ).to(gradient.dtype)
        return back, None, None, None
