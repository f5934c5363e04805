"""The device that computes: its number format, and the memory that it keeps."""

import contextlib
import ctypes

import psutil
import torch
from torch import nn


def local_device() -> torch.device:
    """Returns this process's current GPU, or the CPU where none is visible."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """Returns bfloat16 where the device computes it natively, float16 on older GPUs, else float32.

    Measured on two cores with AVX-512 BF16: EfficientNet-Lite0 at 128 px, 688 against 232
    images/s. Without the instructions, bfloat16 is emulated and slower than float32.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_native else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bf16() else torch.float32


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Returns the context in which a forward pass runs in the device's best format."""
    dtype = choose_dtype(device)
    if dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def is_full_precision(device: torch.device) -> bool:
    """Tells whether the device's best format is float32."""
    return choose_dtype(device) is torch.float32


def cast_weights(module: nn.Module, device: torch.device) -> None:
    """Casts once, in place, the weights that `autocast` would cast again for every batch.

    Measured on one core with CLIP ViT-B/32, batches of 32: 2 to 4 % of the time, and half of the
    memory; the same answers.
    """
    dtype = choose_dtype(device)
    if dtype is torch.float32:
        return
    cast = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention)
    for part in module.modules():
        if isinstance(part, cast):
            for parameter in part.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)


def _cpu_has_bf16() -> bool:
    # oneDNN also says yes where AVX-512 has no instructions for it, and emulates them.
    is_emulated = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported() and not is_emulated


# From malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT_BYTES = 256 << 20
_MOST_KEPT_BYTES = 512 << 20
# Beyond the weights, for each batch that computes at a time. Half of it is in use during a forward
# pass of ViT-B/32's size, and not to be cleared again each time.
_MOST_GROWTH_BYTES = 1 << 30
# Beyond what is in use when the holes are given back: where that alone is more than the above, they
# would be given back all the time.
_LEAST_GROWTH_BYTES = 1 << 29


def keep_freed_memory() -> None:
    """Makes this process keep up to half a gigabyte of what it frees; does nothing without glibc.

    Best before the process has other threads: an arena that is there stays, and is given to others.

    Measured on one core of an AMD EPYC with the bundled checkpoint, batches of 64 in a thread: 371
    instead of 278 products/s, with the same answers.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    # A thread's own arena can hold no block of more than 64 MB, so all share one.
    set_option(_ARENA_MAX, 1)
    if not set_option(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES):
        # glibc 2.33 and older take no more, and the next line would keep the default of 128 KB.
        set_option(_MMAP_THRESHOLD, 32 << 20)
    set_option(_TRIM_THRESHOLD, _MOST_KEPT_BYTES)


class Heap:
    """This process's heap, whose holes go back to the kernel when they have become too many."""

    def __init__(self, lanes: int) -> None:
        """Gives back what was freed until now: weights before they were cast, for example.

        `lanes` is how many batches compute at a time.
        """
        self._process, self._lanes = psutil.Process(), lanes
        self._allowed_bytes = self._give_back() + lanes * _MOST_GROWTH_BYTES
        self._most_bytes = self._allowed_bytes

    def bound(self) -> None:
        """Gives the holes back if the process has grown by 1 GB a lane beyond its weights.

        Measured with CMA-CLIP on towers of ViT-B/32's size, pictures of 1,000 px, one thread: 3.3
        GB after 4,000 products without, 880 MB of it in use. Two workers over 3,600 products came
        to 2.6 GB with it, and took as many CPU seconds as with 1.3 GB (2.7).
        """
        if self._read_bytes() > self._most_bytes:
            in_use = self._give_back()
            # Not from there alone: what other threads hold at that moment would add up.
            self._most_bytes = max(self._allowed_bytes, in_use + self._lanes * _LEAST_GROWTH_BYTES)

    def _give_back(self) -> int:
        """Returns the bytes that are left."""
        with contextlib.suppress(AttributeError):  # another C library than glibc
            # Whole pages of all holes, not of the heap's end alone.
            ctypes.CDLL(None).malloc_trim(0)
        return self._read_bytes()

    def _read_bytes(self) -> int:
        return int(self._process.memory_info().rss)
