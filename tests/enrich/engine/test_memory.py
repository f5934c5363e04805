"""A worker's memory: in a process of its own, because glibc's settings stay."""

import subprocess
import sys

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
