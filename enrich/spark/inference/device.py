"""Chooses the device that a task's engine runs on, and takes the cores that Spark gave the task."""

import os

import torch
from pyspark import TaskContext

from enrich.errors import ConfigError
from enrich.precision import local_device


def choose_device() -> torch.device:
    """Returns the GPU that Spark assigned to this task, else a visible GPU, else the CPU.

    Runs on the executor. In local mode Spark assigns none, and CUDA_VISIBLE_DEVICES decides what
    torch sees.

    Raises:
        ConfigError: Spark assigned a GPU that torch cannot use.
    """
    context = TaskContext.get()
    assigned = context.resources().get("gpu") if context else None
    if assigned is None:
        return local_device()
    address = assigned.addresses[0]
    if not address.isdecimal() or int(address) >= torch.cuda.device_count():
        raise ConfigError(
            f"Spark assigned GPU {address} and torch sees {torch.cuda.device_count()}, "
            "counted from 0: check spark.executor.resource.gpu.discoveryScript, "
            "CUDA_VISIBLE_DEVICES and the driver"
        )
    return torch.device("cuda", int(address))


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
