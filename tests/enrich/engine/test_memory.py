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

device.keep_freed_memory()
device._MOST_GROWTH_BYTES, device._LEAST_GROWTH_BYTES = int({allowed}), int({allowed_anew})
heap = device.Heap({lanes})
"""


def _run(then: str, allowed: float, allowed_anew: float, lanes: int = 1) -> list[float]:
    code = _HOLES.format(allowed=allowed, allowed_anew=allowed_anew, lanes=lanes) + then
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(share) for share in done.stdout.split()]


def _share_given_back(allowed: float, lanes: int = 1) -> float:
    return _run("print(share_given_back(leave_holes([])))", allowed, allowed, lanes)[0]


def test_holes_in_the_heap_are_given_back_once_a_process_has_grown_by_more_than_is_allowed() -> (
    None
):
    assert _share_given_back(allowed=100e6) > 0.9


def test_what_a_pass_frees_is_kept_for_the_next_one_until_then() -> None:
    assert _share_given_back(allowed=400e6) < 0.1


def test_each_batch_that_computes_at_a_time_may_leave_as_much() -> None:
    assert _share_given_back(allowed=100e6, lanes=4) < 0.1


# Half of the blocks are in use when the holes of the others are given back.
_IN_USE = """
kept = [None] * (count // 2)
print(share_given_back(leave_holes(kept)))
"""


def test_what_is_in_use_when_holes_are_given_back_does_not_raise_what_is_allowed_for_good() -> None:
    then = "for block in kept: libc.free(block)\nprint(share_given_back(leave_holes([])))\n"
    first, second = _run(_IN_USE + then, allowed=150e6, allowed_anew=10e6)
    assert first > 0.4
    assert second > 0.9


def test_holes_are_kept_again_where_more_is_in_use_than_is_allowed() -> None:
    then = "print(share_given_back(leave_holes([])))\n"
    first, second = _run(_IN_USE + then, allowed=100e6, allowed_anew=400e6)
    assert first > 0.4
    assert second < 0.1
