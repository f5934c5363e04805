"""EfficientNet-Lite0: pictures to the maps of its stages. It has no head that names classes.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv
1905.11946), as the Lite variant of github.com/tensorflow/tpu (models/official/efficientnet/lite):
relu6 instead of swish, and no squeeze-and-excitation. Weights have the names and the order of
timm's `tf_efficientnet_lite0`, and weights published for that fit. timm itself, and torchvision
with it, would cost every worker that loads the model more than a second.
"""

import math
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Stage(NamedTuple):
    """Blocks in a row; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    channels: int


_STEM = 32
STAGES = (
    Stage(1, 3, 1, 16),
    Stage(2, 3, 2, 24),
    Stage(2, 5, 2, 40),
    Stage(3, 3, 2, 80),
    Stage(3, 5, 1, 112),
    Stage(4, 5, 2, 192),
    Stage(1, 3, 1, 320),
)
LAST_OF_DEPTH = (0, 1, 2, 4, 6)  # stages after which the maps get smaller, and the last one
CHANNELS = tuple(STAGES[at].channels for at in LAST_OF_DEPTH)
_EXPANSION = 6
_EPSILON = 1e-3  # TensorFlow's, not PyTorch's


class EfficientNetLite0(nn.Module):
    """The stem and the seven stages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = Convolution(3, _STEM, 3, stride=2)
        self.bn1 = _norm(_STEM)
        self.act = nn.ReLU6(inplace=True)
        widths = (_STEM, *(stage.channels for stage in STAGES))
        self.blocks = nn.Sequential(*map(_build_stage, STAGES, widths))

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Returns the last map of each depth: a half, a quarter, ... of the pixels' side."""
        maps = self.stage_maps(pixels, len(STAGES))
        return [maps[at] for at in LAST_OF_DEPTH]

    def stage_maps(
        self, pixels: Float[Tensor, "B 3 H W"], stages: int
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Returns the map after each of the first `stages` stages."""
        cells = self.act(self.bn1(self.conv_stem(pixels)))
        maps = []
        for stage in self.blocks[:stages]:
            cells = stage(cells)
            maps.append(cells)
        return maps


def _build_stage(stage: Stage, width: int) -> nn.Sequential:
    kind = _DepthwiseSeparable if stage is STAGES[0] else InvertedResidual
    out = stage.channels
    first = kind(width, out, stage.kernel, stage.stride)
    return nn.Sequential(first, *(kind(out, out, stage.kernel, 1) for _ in range(1, stage.blocks)))


class InvertedResidual(nn.Module):
    """Widens the cells, mixes each channel over its neighbourhood, and narrows them again."""

    def __init__(self, width: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = width * _EXPANSION
        self.has_skip = stride == 1 and width == out
        self.conv_pw = Convolution(width, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = Convolution(wide, wide, kernel, stride, groups=wide)
        self.bn2 = _norm(wide)
        self.conv_pwl = Convolution(wide, out, 1)
        self.bn3 = _norm(out)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, cells: Float[Tensor, "B _ _ _"]) -> Float[Tensor, "B _ _ _"]:
        inner = self.act(self.bn1(self.conv_pw(cells)))
        inner = self.act(self.bn2(self.conv_dw(inner)))
        narrowed: Tensor = self.bn3(self.conv_pwl(inner))
        return narrowed + cells if self.has_skip else narrowed


class _DepthwiseSeparable(nn.Module):
    """The first stage's block, which does not widen."""

    def __init__(self, width: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = Convolution(width, width, kernel, stride, groups=width)
        self.bn1 = _norm(width)
        self.conv_pw = Convolution(width, out, 1)
        self.bn2 = _norm(out)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, cells: Float[Tensor, "B _ _ _"]) -> Float[Tensor, "B _ _ _"]:
        inner = self.act(self.bn1(self.conv_dw(cells)))
        narrowed: Tensor = self.bn2(self.conv_pw(inner))
        return narrowed


class Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "same"."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        # At a stride of 1 "same" pads both ends alike, whatever the size, which torch does itself.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels, out, kernel, stride, padding, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """Draws weights as the published ones were: so that no layer grows or shrinks its cells."""
        fan_out = self.weight[0, 0].numel() * self.out_channels // self.groups
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))

    def forward(self, cells: Float[Tensor, "B _ H W"]) -> Float[Tensor, "B _ _ _"]:
        cells, weight, padding = self.lay_out(cells)
        return F.conv2d(cells, weight, self.bias, self.stride, padding, groups=self.groups)

    def lay_out(self, cells: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """Returns cells, kernel and padding of a plain convolution with the same result.

        At a stride of 2 the margin may be wider at the far end, which torch does only by copying
        all cells into a padded map. A kernel with zeros in front saves that copy: with it, the
        wider margin is right at both ends. 6.5 instead of 11.3 ms for 62 maps of 96 channels and
        64 x 64 cells.
        """
        if self.stride == (1, 1):
            return cells, self.weight, [self.kernel_size[0] // 2] * 2
        # Not the stem: it is not depthwise, so a larger kernel costs it more than the copy.
        if self.groups == 1 or cells.device.type != "cpu":
            return pad_same(cells, self.kernel_size[0], self.stride[0]), self.weight, [0, 0]
        margins = [_margins(side, self.kernel_size[0], self.stride[0]) for side in cells.shape[-2:]]
        in_front = [after - before for before, after in margins]
        weight = F.pad(self.weight, (in_front[1], 0, in_front[0], 0))
        return cells, weight, [after for _, after in margins]


def pad_same(cells: Float[Tensor, "B C H W"], kernel: int, stride: int) -> Float[Tensor, "B C _ _"]:
    """Pads as TensorFlow's "same" does: no more than is needed, the odd one at the far end."""
    height, width = (_margins(side, kernel, stride) for side in cells.shape[-2:])
    return F.pad(cells, (*width, *height))


def _margins(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns how many cells "same" adds at the near and at the far end."""
    missing = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
    return missing // 2, missing - missing // 2


def fold(norm: nn.BatchNorm2d) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Returns a frozen norm as scale and shift of each channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)
