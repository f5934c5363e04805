from copy import deepcopy

import pytest
import torch

from enrich.classifiers.config import SmallTowers
from enrich.classifiers.efficientnet import EfficientNetLite0
from enrich.classifiers.efficientnet_stages import (
    lower_maps,
    upper_maps,
    upper_parameters,
)
from enrich.classifiers.small_towers import EfficientNetTower


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite0:
    torch.manual_seed(0)
    made = EfficientNetLite0()
    # Fresh norms would hide a wrong folding: all have mean 0, variance 1, factor 1 and shift 0.
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return made.eval()


def _in_halves(backbone: EfficientNetLite0, pixels: torch.Tensor) -> list[torch.Tensor]:
    lower = lower_maps(backbone, pixels)
    upper = upper_maps(backbone, lower[-1].permute(0, 2, 3, 1))
    return [*lower, *(level.permute(0, 3, 1, 2) for level in upper)]


# On the way down from 72 cells a side there are 9, which halve with one left over.
@pytest.mark.parametrize("side", [64, 72])
def test_both_halves_together_give_the_maps_of_the_whole(
    backbone: EfficientNetLite0, side: int
) -> None:
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        whole, halves = backbone(pixels), _in_halves(backbone, pixels)
    assert len(whole) == len(halves)
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_gradients_of_the_trained_weights_are_those_of_the_whole(
    backbone: EfficientNetLite0,
) -> None:
    # In float32 a value beside a kink of relu6 may fall on either side of it, by the CPU.
    backbone, pixels = deepcopy(backbone).double(), torch.randn(2, 3, 64, 64).double()
    trained = upper_parameters(backbone)
    wanted = torch.autograd.grad(sum(m.square().mean() for m in backbone(pixels)[3:]), trained)
    halves = _in_halves(backbone, pixels)[3:]
    found = torch.autograd.grad(sum(level.square().mean() for level in halves), trained)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-7)


def test_depthwise_kernels_are_not_trained(backbone: EfficientNetLite0) -> None:
    trained = {id(parameter) for parameter in upper_parameters(backbone)}
    names = {name for name, p in backbone.named_parameters() if id(p) in trained}
    assert names
    assert not [name for name in names if "conv_dw" in name or name.startswith("blocks.0")]


def test_the_tower_gives_the_same_features_by_way_of_its_lower_stages() -> None:
    torch.manual_seed(0)
    tower = EfficientNetTower(SmallTowers(width=32), 64).eval()
    pixels = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        at_once, in_halves = tower.features(pixels), tower.upper(tower.lower(pixels))
    torch.testing.assert_close(at_once, in_halves, rtol=1e-3, atol=1e-4)
