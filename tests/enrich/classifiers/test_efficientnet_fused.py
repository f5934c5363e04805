"""Layers that were merged give the maps of those that they were made of."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from enrich.classifiers.efficientnet import EfficientNetLite0
from enrich.classifiers.efficientnet_fused import fuse
from enrich.classifiers.manifest import BUNDLED
from enrich.engine.device import cast_weights, choose_dtype

CPU = torch.device("cpu")


def _backbone() -> EfficientNetLite0:
    """The bundled checkpoint's: unlike those of fresh ones, its norms do something."""
    prefix = "image_tower.backbone."
    weights = load_file(BUNDLED / "model.safetensors")
    backbone = EfficientNetLite0().eval().requires_grad_(False)
    backbone.load_state_dict(
        {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    )
    return backbone


def _pixels(height: int, width: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, height, width, generator=random)
    return pixels.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(128, 128), (75, 101)], ids=str)
def test_fused_layers_give_the_same_maps(size: tuple[int, int]) -> None:
    plain, fused = _backbone(), _backbone()
    fuse(fused)

    with torch.inference_mode():
        wanted, found = plain(_pixels(*size)), fused(_pixels(*size))

    assert not [m for m in fused.modules() if isinstance(m, torch.nn.BatchNorm2d | torch.nn.ReLU6)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(choose_dtype(CPU) is not torch.bfloat16, reason="THIS CPU HAS NO BFLOAT16")
def test_in_bfloat16_fused_layers_are_nearer_to_float32_than_plain_ones() -> None:
    exact, plain, fused = _backbone(), _backbone(), _backbone()
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
