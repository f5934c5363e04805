"""A worker's memory: in a process of its own, because glibc's settings stay."""

import subprocess
import sys

# Blocks as large as a layer's results, each followed by one that stays: so their holes do not lie
# at the heap's end, where glibc would give them back by itself.
_HOLES = """
import ctypes
import psutil
from enrich import memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
size, count = 4 << 20, 50

def leave_holes():
    blocks = []
    for _ in range(count):
        blocks.append(libc.malloc(size))
        libc.memset(blocks[-1], 1, size)
        libc.malloc(4096)
    for block in blocks:
        libc.free(block)
    return psutil.Process().memory_info().rss

memory.keep_freed_memory()
memory._MOST_GROWTH_BYTES = int({allowed})
heap = memory.Heap()
before = leave_holes()
heap.bound()
print((before - psutil.Process().memory_info().rss) / (size * count))
"""


def _share_given_back(allowed: float) -> float:
    code = _HOLES.format(allowed=allowed)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_holes_in_the_heap_are_given_back_once_a_process_has_grown_by_more_than_is_allowed() -> (
    None
):
    assert _share_given_back(allowed=100e6) > 0.9


def test_what_a_pass_frees_is_kept_for_the_next_one_until_then() -> None:
    assert _share_given_back(allowed=400e6) < 0.1
