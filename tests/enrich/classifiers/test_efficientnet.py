"""Our EfficientNet-Lite0 is the published one: held against timm's, which training installs."""

from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from enrich.classifiers.efficientnet import CHANNELS, EfficientNetLite0
from enrich.classifiers.manifest import BUNDLED

timm = pytest.importorskip("timm", reason="TIMM ABSENT: nothing to compare with; make test has it")


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """The backbone of the bundled checkpoint: unlike fresh ones, its norms do something."""
    prefix = "image_tower.backbone."
    weights = load_file(BUNDLED / "model.safetensors")
    return {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}


def _timms() -> torch.nn.Module:
    return timm.create_model("tf_efficientnet_lite0", features_only=True).eval()


def test_weights_have_timms_names_order_and_shapes() -> None:
    # Published weights under other names are paired by the order.
    ours, timms = EfficientNetLite0().state_dict(), _timms().state_dict()
    assert [(n, t.shape) for n, t in ours.items()] == [(n, t.shape) for n, t in timms.items()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [(128, 128), (75, 101)], ids=str)
def test_maps_are_timms(
    trained: dict[str, Tensor], size: tuple[int, int], dtype: torch.dtype
) -> None:
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


def test_gradients_are_timms(trained: dict[str, Tensor]) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for backbone in (EfficientNetLite0().eval(), _timms()):
        backbone.load_state_dict(trained)
        backbone.double()
        loss = sum(level.square().mean() for level in backbone(pixels.double()))
        gradients.append(torch.autograd.grad(loss, list(backbone.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
