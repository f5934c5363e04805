"""Chooses the device that a task's engine runs on."""

import torch
from pyspark import TaskContext

from enrich.errors import ConfigError


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
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    address = int(assigned.addresses[0])
    if address >= torch.cuda.device_count():
        raise ConfigError(
            f"Spark assigned GPU {address} and torch sees {torch.cuda.device_count()}: check "
            "spark.executor.resource.gpu.discoveryScript, CUDA_VISIBLE_DEVICES and the driver"
        )
    return torch.device("cuda", address)
