"""EfficientNet-Lite0 is the published one, also fused and in halves: held against timm's."""

from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file

from enrich.classifiers.efficientnet import (
    CHANNELS,
    EfficientNetLite0,
    fuse,
    lower_maps,
    upper_maps,
    upper_parameters,
)
from enrich.classifiers.manifest import BUNDLED
from enrich.engine.device import cast_weights, choose_dtype


@pytest.fixture(scope="module")
def trained():
    """The backbone of the bundled checkpoint: unlike fresh ones, its norms do something."""
    prefix = "image_tower.backbone."
    weights = load_file(BUNDLED / "model.safetensors")
    return {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}


def _load(trained):
    backbone = EfficientNetLite0().eval().requires_grad_(False)
    backbone.load_state_dict(trained)
    return backbone


def _timms():
    timm = pytest.importorskip("timm", reason="TIMM ABSENT: make test has it")
    return timm.create_model("tf_efficientnet_lite0", features_only=True).eval()


def test_weights_have_timms_names_order_and_shapes():
    # Published weights under other names are paired by the order.
    ours, timms = EfficientNetLite0().state_dict(), _timms().state_dict()
    assert [(n, t.shape) for n, t in ours.items()] == [(n, t.shape) for n, t in timms.items()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [(128, 128), (75, 101)], ids=str)
def test_maps_are_timms(trained, size, dtype):
    ours, timms = EfficientNetLite0().eval(), _timms()
    ours.load_state_dict(trained)
    timms.load_state_dict(trained)
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    half = dtype is torch.bfloat16
    with torch.inference_mode(), torch.autocast("cpu", dtype) if half else nullcontext():
        found, wanted = ours(pixels), timms(pixels)
    assert tuple(level.shape[1] for level in found) == CHANNELS
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype is dtype
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_gradients_are_timms(trained):
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for backbone in (EfficientNetLite0().eval(), _timms()):
        backbone.load_state_dict(trained)
        backbone.double()
        loss = sum(level.square().mean() for level in backbone(pixels.double()))
        gradients.append(torch.autograd.grad(loss, list(backbone.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


CPU = torch.device("cpu")


def _pixels(height, width):
    random = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, height, width, generator=random)
    return pixels.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(128, 128), (75, 101)], ids=str)
def test_fused_layers_give_the_same_maps(trained, size):
    plain, fused = _load(trained), _load(trained)
    fuse(fused)

    with torch.inference_mode():
        wanted, found = plain(_pixels(*size)), fused(_pixels(*size))

    assert not [m for m in fused.modules() if isinstance(m, torch.nn.BatchNorm2d | torch.nn.ReLU6)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(choose_dtype(CPU) is not torch.bfloat16, reason="THIS CPU HAS NO BFLOAT16")
def test_in_bfloat16_fused_layers_are_nearer_to_float32_than_plain_ones(trained):
    exact, plain, fused = (_load(trained) for _ in range(3))
    fuse(fused)
    for backbone in (plain, fused):
        cast_weights(backbone, CPU)

    with torch.inference_mode():
        wanted = exact(_pixels(128, 128))
        with torch.autocast("cpu", torch.bfloat16):
            maps = plain(_pixels(128, 128)), fused(_pixels(128, 128))

    assert {level.dtype for level in maps[1]} == {torch.bfloat16}
    for exactly, plainly, quickly in zip(wanted, *maps, strict=True):
        assert (quickly - exactly).norm() < (plainly - exactly).norm()


@pytest.fixture(scope="module")
def backbone(trained):
    return _load(trained).requires_grad_(True)


def _in_halves(backbone, pixels):
    lower = lower_maps(backbone, pixels)
    upper = upper_maps(backbone, lower[-1].permute(0, 2, 3, 1))
    return [*lower, *(level.permute(0, 3, 1, 2) for level in upper)]


# On the way down from 72 cells a side there are 9, which halve with one left over.
@pytest.mark.parametrize("side", [64, 72])
def test_both_halves_together_give_the_maps_of_the_whole(backbone, side):
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        whole, halves = backbone(pixels), _in_halves(backbone, pixels)
    assert len(whole) == len(halves)
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_gradients_of_the_trained_weights_are_those_of_the_whole(backbone):
    # In float32 a value beside a kink of relu6 may fall on either side of it, by the CPU.
    backbone, pixels = deepcopy(backbone).double(), torch.randn(2, 3, 64, 64).double()
    trained = upper_parameters(backbone)
    wanted = torch.autograd.grad(sum(m.square().mean() for m in backbone(pixels)[3:]), trained)
    halves = _in_halves(backbone, pixels)[3:]
    found = torch.autograd.grad(sum(level.square().mean() for level in halves), trained)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-7)


def test_depthwise_kernels_are_not_trained(backbone):
    trained = {id(parameter) for parameter in upper_parameters(backbone)}
    names = {name for name, p in backbone.named_parameters() if id(p) in trained}
    assert names
    assert not [name for name in names if "conv_dw" in name or name.startswith("blocks.0")]
