"""Processes that train one classifier together, as torchrun starts them.

Without torchrun there is one process.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from enrich.engine.device import local_device
from enrich.errors import ConfigError
from enrich.terminal import rank

# The first process decodes a catalog or evaluates on it while the others wait.
_LONGEST_WAIT = timedelta(hours=12)

Made = TypeVar("Made")


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join torchrun's processes, each with a GPU of its own, or the CPU.

    They share the cores of the machine. Raises ConfigError if there are more processes than GPUs.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    if os.environ.get("OMP_NUM_THREADS") == "1":
        # torchrun's default. Pictures are varied on the CPU: with one thread a process, GPUs would
        # wait for them.
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // int(os.environ["LOCAL_WORLD_SIZE"])))
    if torch.cuda.is_available():
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise ConfigError(
                f"processes are too many: found {gpus} GPU(s) for process {local_rank + 1} of this "
                f"machine, expected one each. Give torchrun --nproc-per-node {gpus}."
            )
        torch.cuda.set_device(local_rank)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_LONGEST_WAIT)
    yield
    # Not after an error: NCCL would wait here for processes that wait for this one. A process that
    # just ends makes torchrun end the others.
    dist.destroy_process_group()


def processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first_then_others(make: Callable[[], Made]) -> Made:
    """Call `make` in the first process, then in the others, which find its files."""
    if rank() > 0:
        dist.barrier()
    made = make()
    if rank() == 0 and processes() > 1:
        dist.barrier()
    return made


def from_first(number: float) -> float:
    """Return the number of the first process to all, so that all decide alike."""
    if processes() == 1:
        return number
    shared = torch.tensor(number, dtype=torch.float64, device=local_device())
    dist.broadcast(shared, src=0)
    return shared.item()
