"""Several processes that train one classifier, as torchrun starts them; without it there is one.

Knows nothing of training.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from enrich.errors import ConfigError
from enrich.precision import local_device
from enrich.ranks import rank

# The first process decodes a catalog or evaluates on it while the others wait.
_LONGEST_WAIT = timedelta(hours=12)

Made = TypeVar("Made")


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Joins torchrun's processes while the context lasts, each with a GPU of its own, or the CPU.

    They share the machine's cores.

    Raises:
        ConfigError: torchrun started more processes than there are GPUs.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    if os.environ.get("OMP_NUM_THREADS") == "1":
        # What torchrun sets, unless told otherwise. Pictures are varied on the CPU: with one thread
        # each, a GPU would wait for them.
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // int(os.environ["LOCAL_WORLD_SIZE"])))
    if torch.cuda.is_available():
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise ConfigError(
                f"process {local_rank + 1} of this machine found {gpus} GPU(s), none left for it: "
                f"give torchrun --nproc-per-node {gpus}"
            )
        torch.cuda.set_device(local_rank)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_LONGEST_WAIT)
    yield
    # Not after an error: NCCL would wait here for the others, who wait for this process, and nobody
    # would learn of it. A process that just ends makes torchrun end the others.
    dist.destroy_process_group()


def processes() -> int:
    """Returns how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first_then_others(make: Callable[[], Made]) -> Made:
    """Calls `make` in the first process and then in the others, who find what it left on disk."""
    if rank() > 0:
        dist.barrier()
    made = make()
    if rank() == 0 and processes() > 1:
        dist.barrier()
    return made


def from_first(number: float) -> float:
    """Returns the first process's number to all, so that all decide alike."""
    if processes() == 1:
        return number
    shared = torch.tensor(number, dtype=torch.float64, device=local_device())
    dist.broadcast(shared, src=0)
    return shared.item()


def summed(number: Tensor) -> float:
    """Returns the sum over all processes."""
    number = number.detach().clone()
    if processes() > 1:
        dist.all_reduce(number)
    return number.item()


def with_shared_gradients(module: nn.Module) -> nn.Module:
    """Returns the module such that a backward pass leaves the mean gradient of all processes.

    A norm over the batch still sees this process's rows only.
    """
    if processes() == 1:
        return module
    # DistributedDataParallel would wait for the gradients of what is not used: the heads in a
    # contrastive phase, the text tower of an image-only classifier.
    return DistributedDataParallel(module, find_unused_parameters=True)


def sharing(module: nn.Module, *, now: bool) -> contextlib.AbstractContextManager[None]:
    """Returns the context of a backward pass that shares gradients `now`, or does not yet.

    Until they are shared, they add up in each process.
    """
    if isinstance(module, DistributedDataParallel) and not now:
        return module.no_sync()
    return contextlib.nullcontext()
