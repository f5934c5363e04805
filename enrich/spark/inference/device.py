"""Chooses the device that a task's engine runs on, and takes the cores that Spark gave the task."""

import functools
import logging
import os

import torch
from pyspark import TaskContext

from enrich.errors import ConfigError
from enrich.forward import is_out_of_memory
from enrich.spec import BuildsEngine, RunsProducts

log = logging.getLogger(__name__)


def choose_device() -> torch.device:
    """Returns the GPU that Spark assigned to this task, else a visible GPU, else the CPU.

    Runs on the executor. In local mode Spark assigns none: this machine's workers share the GPUs
    that CUDA_VISIBLE_DEVICES lets torch see.

    Raises:
        ConfigError: Spark assigned a GPU that torch cannot use.
    """
    context = TaskContext.get()
    assigned = context.resources().get("gpu") if context else None
    gpus = _count_gpus()
    if assigned is None:
        return torch.device("cuda", _first_task() % gpus) if gpus else torch.device("cpu")
    address = assigned.addresses[0]
    if not address.isdecimal() or int(address) >= gpus:
        raise ConfigError(
            f"Spark assigned GPU {address} and torch sees {gpus}, "
            "counted from 0: check spark.executor.resource.gpu.discoveryScript, "
            "CUDA_VISIBLE_DEVICES and the driver"
        )
    return torch.device("cuda", int(address))


@functools.cache
def _count_gpus() -> int:
    """Returns how many GPUs CUDA can use; with a driver too old for it there are cards as well."""
    gpus = torch.cuda.device_count()
    if gpus and not torch.cuda.is_available():
        log.warning("%s GPUs are left alone: CUDA does not start, is their driver too old?", gpus)
        return 0
    return gpus


@functools.cache
def _first_task() -> int:
    """Returns the number of the first task that this worker was given.

    Kept, because a worker that is used again keeps its engine. The first tasks of a stage have the
    numbers 0, 1, 2 and so on, so that workers which start together are spread evenly.
    """
    context = TaskContext.get()
    return context.partitionId() if context else 0


def build_engine(spec: BuildsEngine, device: torch.device) -> RunsProducts:
    """Loads a task's engine onto its device. Runs on the executor.

    Raises:
        CheckpointError: the checkpoint is not there, or damaged.
        NoAnswer: it is another one than the driver saw.
        ConfigError: the device has no memory left for it, or torch is not built for it.
    """
    try:
        return spec.build(device)
    except RuntimeError as error:
        if "no kernel image" in str(error):
            raise ConfigError(
                f"{device} is of a kind that this torch ({torch.__version__}) is not built for: "
                "install one that is, or hide the GPU (CUDA_VISIBLE_DEVICES=-1)"
            ) from error
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"{device} has no memory for one more engine: let fewer tasks share it. On one machine "
            "spark-submit --master 'local[4]' gives four to one GPU, on a cluster "
            "spark.task.resource.gpu.amount (or tasks_per_gpu) says how many"
        ) from error


def take_cores() -> None:
    """Gives torch and the tokenizer as many threads as the task has cores.

    Runs on the executor, before an engine is built. Spark tells Python workers `spark.task.cpus`
    alone, which a stage's resource profile may overrule.
    """
    context = TaskContext.get()
    if context is None:
        return
    torch.set_num_threads(context.cpus())
    # Read when the first texts are cut into tokens.
    os.environ.setdefault("RAYON_NUM_THREADS", str(context.cpus()))
