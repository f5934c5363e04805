"""Linear layers in int8 answer nearly as those in floating point."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from enrich.classifiers import int8
from enrich.classifiers.hugging_face_towers import ImageHalf
from enrich.classifiers.int8 import Int8Linear, use_int8
from enrich.errors import CheckpointError


def _worst(exact, found):
    """The largest error, beside the spread of what is right."""
    return float((exact - found).abs().max() / exact.std())


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = nn.Linear(64, 48)
    # As trained ones are: some outputs a hundred times as large as others.
    layer.weight.data *= torch.logspace(-1, 1, 48).unsqueeze(1)
    return layer


@pytest.mark.parametrize("has_vnni", [True, False])
@torch.inference_mode()
def test_every_output_is_near_the_exact_one_however_small_its_weights(layer, has_vnni, monkeypatch):
    if has_vnni and not torch.cpu._is_vnni_supported():
        pytest.skip("NO VNNI: eight bits of inputs are NOT tested on this CPU")
    monkeypatch.setattr("torch.cpu._is_vnni_supported", lambda: has_vnni)
    use_int8(rounded := nn.Sequential(layer))
    inputs = torch.randn(2, 7, 64) + 1
    exact, found = layer(inputs), rounded(inputs)
    assert found.shape == exact.shape and not torch.equal(found, exact)
    errors = [_worst(exact[..., n], found[..., n]) for n in range(48)]
    assert max(errors) < (0.05 if has_vnni else 0.08)


@torch.inference_mode()
def test_half_precision_around_a_layer_is_taken_as_it_comes(layer):
    use_int8(rounded := nn.Sequential(layer, nn.Linear(48, 8, bias=False)))
    inputs = torch.randn(5, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _worst(rounded(inputs), rounded(inputs.bfloat16())) < 0.05


@torch.inference_mode()
def test_threads_that_share_a_layer_do_not_disturb_each_other(layer):
    use_int8(rounded := nn.Sequential(layer))
    batches = [torch.randn(rows, 64) * (1 + rows) for rows in range(1, 40)]
    alone = [rounded(batch) for batch in batches]

    def run(_):
        with torch.inference_mode():
            return all(torch.equal(rounded(b), a) for a, b in zip(alone, batches, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(40)))


@torch.inference_mode()
def test_a_copy_computes_as_the_layer_itself(layer):
    # torch's own copy is packed for an engine that is slower, and rounds otherwise.
    use_int8(rounded := nn.Sequential(layer))
    inputs = torch.randn(400, 64)
    (copied,) = copy.deepcopy(rounded)
    assert torch.equal(copied(inputs), rounded(inputs))
    assert copied._packed is rounded[0]._packed


@torch.inference_mode()
def test_a_tower_of_transformers_sees_nearly_the_same(clip_json):
    torch.manual_seed(0)
    tower = ImageHalf(CLIPModel(CLIPConfig.from_dict(clip_json))).eval()
    pixels = torch.randn(3, 3, 64, 64)
    exact = tower.embed(tower.features(pixels)).embeds
    use_int8(tower)
    found = tower.embed(tower.features(pixels)).embeds
    assert not any(type(part) is nn.Linear for part in tower.modules())
    assert 0 < _worst(exact, found) < 0.1


@torch.inference_mode()
def test_layers_that_torch_computes_as_one_stay_as_they_are():
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    inputs = torch.randn(2, 5, 32)
    exact = encoder(inputs)
    use_int8(encoder)
    assert not any(isinstance(part, Int8Linear) for part in encoder.modules())
    assert torch.equal(encoder(inputs), exact)


def test_a_machine_that_cannot_says_what_to_use_instead(layer, monkeypatch):
    monkeypatch.setattr(int8, "_ENGINE", "none such")
    with pytest.raises(CheckpointError, match="Use the checkpoint that it was exported from"):
        use_int8(nn.Sequential(layer))
