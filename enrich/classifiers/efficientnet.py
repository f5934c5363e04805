"""EfficientNet-Lite0 from pictures to maps, in training and fused for inference.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv
1905.11946), as the Lite variant of github.com/tensorflow/tpu (models/official/efficientnet/lite):
relu6 instead of swish, no squeeze-and-excitation, and here no head that names classes. Weights have
the names and the order of timm's `tf_efficientnet_lite0`, and weights published for that fit. timm
itself, and torchvision with it, would cost every worker that loads the model more than a second.

The upper half is also written so that a CPU trains it quickly. Convolution gradients in bfloat16
are the trap: on one core with AVX-512 BF16 and PyTorch 2.15, a training step on 128 pictures takes
1.63 s through the published modules, 0.84 s in float32, and 0.34 s here. Three things make the
difference: cells stay channels-last and a 1 x 1 convolution is a matrix product, the norms are
folded into the weights on the way (their statistics are frozen), and depthwise kernels are not
trained, because their gradient alone costs more than all the rest.

For inference on a CPU, convolution, norm and clamp become one step. A CPU's time goes into writing
the cells of one layer and reading them for the next. oneDNN, which torch computes convolutions
with, norms and clamps them before it writes them, and adds the norm's shift in float32 also where
the cells are bfloat16: 5.1 and 2.9 ms for a picture of 128 px on one core with AVX-512 BF16 and
matrix units, and a seventh nearer to float32.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.grad import conv2d_input


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
        """Return the last map of each depth, a half, a quarter, ... of the pixels' side."""
        maps = self.stage_maps(pixels, len(STAGES))
        return [maps[at] for at in LAST_OF_DEPTH]

    def stage_maps(
        self, pixels: Float[Tensor, "B 3 H W"], stages: int
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the map after each of the first `stages` stages."""
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
    """Wider cells, each channel mixed over its neighbourhood, and narrow ones again."""

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
        """Draw weights as the published ones were, so that cells keep their scale."""
        fan_out = self.weight[0, 0].numel() * self.out_channels // self.groups
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))

    def forward(self, cells: Float[Tensor, "B _ H W"]) -> Float[Tensor, "B _ _ _"]:
        cells, weight, padding = self.lay_out(cells)
        return F.conv2d(cells, weight, self.bias, self.stride, padding, groups=self.groups)

    def lay_out(self, cells: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """Return cells, kernel and padding of a plain convolution with the same result.

        At a stride of 2 the margin may be wider at the far end, which torch does only by copying
        all cells into a padded map. A kernel with zeros in front makes the wider margin right at
        both ends: 6.5 instead of 11.3 ms for 62 maps of 96 channels and 64 x 64 cells.
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
    """Pad as TensorFlow's "same" does, with an odd cell at the far end."""
    height, width = (_margins(side, kernel, stride) for side in cells.shape[-2:])
    return F.pad(cells, (*width, *height))


def _margins(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many cells "same" adds at the near and at the far end."""
    missing = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
    return missing // 2, missing - missing // 2


def fold(norm: nn.BatchNorm2d) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Return a frozen norm as scale and shift of each channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


_FIRST_UPPER_STAGE = 3
LOWER_CHANNELS = CHANNELS[:_FIRST_UPPER_STAGE]
LOWER_STRIDE = 8  # pixels a cell of the last lower map
_TRAINED = ("conv_pw.weight", "conv_pwl.weight", "bn1.bias", "bn2.bias", "bn3.bias")


def lower_maps(
    backbone: EfficientNetLite0, pixels: Float[Tensor, "B 3 S S"]
) -> list[Float[Tensor, "B _ _ _"]]:
    """Return the maps after each lower stage, channels first."""
    return backbone.stage_maps(pixels, _FIRST_UPPER_STAGE)


def upper_maps(
    backbone: EfficientNetLite0, cells: Float[Tensor, "B H W C"]
) -> list[Float[Tensor, "B _ _ _"]]:
    """Return the two maps above the last lower one, channels last."""
    maps = []
    for number, stage in enumerate(_upper_stages(backbone), start=_FIRST_UPPER_STAGE):
        for block in stage:
            cells = _inverted_residual(block, cells)
        if number in LAST_OF_DEPTH:
            maps.append(cells)
    return maps


def upper_parameters(backbone: EfficientNetLite0) -> list[nn.Parameter]:
    """Return the trained 1 x 1 convolutions and shifts of norms of `upper_maps`."""
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


# The convolutions and norms that narrow a block's cells: no clamp follows these.
_NARROWING = ("conv_pwl", "bn3"), ("conv_pw", "bn2")


class FusedConvolution(Convolution):
    """A convolution, its frozen norm, and ReLU6 where `clamps` says so."""

    def __init__(self, plain: Convolution, norm: nn.BatchNorm2d, *, clamps: bool) -> None:
        geometry = (plain.in_channels, plain.out_channels, plain.kernel_size[0])
        super().__init__(*geometry, plain.stride[0], plain.groups)
        scale, shift = fold(norm)
        self.weight = nn.Parameter(plain.weight * scale.view(-1, 1, 1, 1))
        self.register_buffer("shift", shift)
        # The names that torch's own compiler gives the operator; it has no public interface.
        self._then = ("hardtanh", [0.0, 6.0], "") if clamps else ("none", [], "")

    def forward(self, cells: Tensor) -> Tensor:
        # Autocast does not know this operator.
        cells, weight, padding = self.lay_out(cells.to(self.weight.dtype))
        convolved: Tensor = torch.ops.mkldnn._convolution_pointwise(
            *(cells, weight, self.shift, padding, self.stride, self.dilation, self.groups),
            *self._then,
        )
        return convolved


@torch.no_grad()
def fuse(backbone: EfficientNetLite0) -> None:
    """Fuse a backbone's convolutions, norms and clamps in place, on a CPU.

    The backbone has to stay on the CPU, and `upper_maps`, which reads the norms, fails.
    """
    is_on_cpu = backbone.conv_stem.weight.device.type == "cpu"
    if not (is_on_cpu and torch.backends.mkldnn.is_available()):
        return
    for part in list(backbone.modules()):
        place, plain = "", None
        for name, child in list(part.named_children()):
            if isinstance(child, Convolution):
                place, plain = name, child
            elif isinstance(child, nn.BatchNorm2d) and plain is not None:
                clamps = (place, name) not in _NARROWING
                setattr(part, place, FusedConvolution(plain, child, clamps=clamps))
                setattr(part, name, nn.Identity())
            elif isinstance(child, nn.ReLU6):
                setattr(part, name, nn.Identity())
