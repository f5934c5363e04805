"""The number format of a device, and the memory that a worker keeps."""

import contextlib
import subprocess
import sys

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


# Blocks as large as a layer's results, each followed by one that stays: so their holes do not lie
# at the heap's end, where glibc would give them back by itself.
_HOLES = """
import ctypes
import psutil
from enrich.engine import device

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
size, count = 4 << 20, 50

def leave_holes(kept):
    blocks = []
    for _ in range(count):
        blocks.append(libc.malloc(size))
        libc.memset(blocks[-1], 1, size)
        libc.malloc(4096)
    for block in blocks[len(kept):]:
        libc.free(block)
    kept[:] = blocks[:len(kept)]
    return psutil.Process().memory_info().rss

def share_given_back(before):
    heap.bound()
    return (before - psutil.Process().memory_info().rss) / (size * count)

def start(allowed, allowed_anew, lanes=1):
    global heap
    device._MOST_GROWTH_BYTES, device._LEAST_GROWTH_BYTES = int(allowed), int(allowed_anew)
    heap = device.Heap(lanes)

device.keep_freed_memory()
"""


def _run(then):
    code = [sys.executable, "-c", _HOLES + then]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    return [float(share) for share in done.stdout.split()]


def test_holes_in_the_heap_are_given_back_once_a_process_has_grown_by_more_than_is_allowed():
    little, of_four, much = _run("""
for allowed, lanes in ((400e6, 1), (100e6, 4), (100e6, 1)):
    start(allowed, allowed, lanes)
    print(share_given_back(leave_holes([])))
""")
    assert little < 0.1, "a pass uses again what the one before freed"
    assert of_four < 0.1, "each batch that computes at a time may leave as much"
    assert much > 0.9
