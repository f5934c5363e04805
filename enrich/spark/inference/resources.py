"""Which executors inference runs on, where other stages are to hold no GPU."""

from pyspark import SparkConf
from pyspark.resource import ResourceProfile, ResourceProfileBuilder
from pyspark.resource.requests import ExecutorResourceRequests, TaskResourceRequests

from enrich.config import GpuExecutors
from enrich.errors import ConfigError


def refuse_impossible_executors(wanted: GpuExecutors | None, conf: SparkConf) -> None:
    """Raises ConfigError where this Spark would not start the executors that inference is to have.

    Runs on the driver. Spark itself says so as a stage begins, and on Kubernetes never: it asks
    for an executor again and again, and the run waits.
    """
    if wanted is None:
        return
    master = conf.get("spark.master", "") or ""
    is_kubernetes, is_yarn = master.startswith("k8s://"), master.startswith("yarn")
    if not (is_kubernetes or is_yarn or master.startswith("spark://")):
        raise ConfigError(
            f"gpu_executors: with --master {master} no stage has executors of its own, but on "
            "YARN, Kubernetes and standalone clusters: leave gpu_executors out"
        )
    if (conf.get("spark.dynamicAllocation.enabled") or "").lower() != "true":
        raise ConfigError("gpu_executors wants spark.dynamicAllocation.enabled=true")
    if is_kubernetes and not wanted.vendor:
        raise ConfigError("gpu_executors wants its 'vendor' on Kubernetes, such as nvidia.com")
    if (is_kubernetes or is_yarn) and not wanted.discovery_script:
        raise ConfigError(
            "gpu_executors wants its 'discovery_script' on YARN and Kubernetes: "
            "jobs/conf/cluster/discover_gpus.sh, by its path on the executors"
        )


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
