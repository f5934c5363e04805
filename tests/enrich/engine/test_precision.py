"""The number format of a forward pass is the device's own, and not another device's."""

import contextlib

import pytest
import torch

from enrich.engine.device import choose_dtype


def test_a_gpu_computes_in_what_it_has_itself_and_does_not_emulate(monkeypatch):
    """The second of two GPUs is too old for bfloat16, which CUDA would then emulate."""
    current = [0]

    @contextlib.contextmanager
    def device(of):
        current.append(of.index)
        yield
        current.pop()

    def is_supported(including_emulation=True):
        return including_emulation or current[-1] == 0

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert choose_dtype(torch.device("cuda", 0)) is torch.bfloat16
    assert choose_dtype(torch.device("cuda", 1)) is torch.float16


@pytest.mark.parametrize(
    "onednn, avx512, avx512_bf16, wanted",
    [
        (True, True, True, torch.bfloat16),
        (True, True, False, torch.float32),  # Skylake to Ice Lake
        (True, False, False, torch.bfloat16),  # ARM
        (False, False, False, torch.float32),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(
    monkeypatch, onednn, avx512, avx512_bf16, wanted
):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    assert choose_dtype(torch.device("cpu")) is wanted
