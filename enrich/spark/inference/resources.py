"""Which executors inference runs on, where other stages are to hold no GPU."""

from pyspark.resource import ResourceProfile, ResourceProfileBuilder
from pyspark.resource.requests import ExecutorResourceRequests, TaskResourceRequests

from enrich.config import GpuExecutors


def build_gpu_profile(wanted: GpuExecutors | None) -> ResourceProfile | None:
    """Returns the profile for inference, None where it runs on the same executors as all else.

    Runs on the driver. Spark has it on YARN, Kubernetes and Standalone, with dynamic allocation.
    """
    if wanted is None:
        return None
    tasks = wanted.gpus * wanted.tasks_per_gpu
    executor = (
        ExecutorResourceRequests()
        .cores(wanted.cores)
        .memory(wanted.memory)
        .memoryOverhead(wanted.memory_overhead)
        .resource("gpu", wanted.gpus, wanted.discovery_script, wanted.vendor)
    )
    task = TaskResourceRequests().cpus(max(1, wanted.cores // tasks))
    task.resource("gpu", 1 / wanted.tasks_per_gpu)
    return ResourceProfileBuilder().require(executor).require(task).build
