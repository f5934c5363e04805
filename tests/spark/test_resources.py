"""Executors for inference alone are asked for only where Spark can start them."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyspark import SparkConf

from enrich.config import GpuExecutors
from enrich.errors import ConfigError
from enrich.spark.encode import refuse_impossible_executors
from enrich.spark.session import slots_of

BARE = GpuExecutors(cores=4, memory="4g", memory_overhead="8g")
WHOLE = BARE.model_copy(update={"vendor": "nvidia.com", "discovery_script": "/gpus.sh"})


def _conf(master):
    return SparkConf(loadDefaults=False, _jvm=None).setMaster(master)


@pytest.mark.parametrize(
    ("wanted", "master", "told"),
    [
        (BARE.model_copy(update={"discovery_script": "/g.sh"}), "k8s://https://c", "vendor"),
        (BARE.model_copy(update={"vendor": "v"}), "k8s://https://c", "discover_gpus.sh"),
        (BARE, "yarn", "discover_gpus.sh"),
    ],
)
def test_executors_that_spark_would_not_start_are_a_wrong_setting(wanted, master, told):
    with pytest.raises(ConfigError, match=told):
        refuse_impossible_executors(wanted, _conf(master))


@pytest.mark.parametrize(
    ("wanted", "master"),
    [(None, "local[2]"), (BARE, "spark://host:7077"), (WHOLE, "yarn"), (WHOLE, "k8s://https://c")],
)
def test_executors_that_spark_starts_are_not_refused(wanted, master):
    refuse_impossible_executors(wanted, _conf(master))


@pytest.mark.parametrize(
    ("settings", "cores", "wanted", "slots"),
    [
        ({}, 8, None, 8),
        ({"task.cpus": "2"}, 8, None, 4),
        # Two executors of 8 cores, each with one GPU that four tasks share.
        ({"executor.cores": "8", "task.resource.gpu.amount": "0.25"}, 16, None, 8),
        # Before an executor of 8 cores has registered.
        ({"executor.cores": "8", "task.resource.gpu.amount": "1"}, 2, None, 1),
        ({"dynamicAllocation.maxExecutors": "5"}, 2, BARE, 5),
        ({}, 2, BARE.model_copy(update={"gpus": 2, "tasks_per_gpu": 3}), 4),
    ],
)
def test_slots_are_counted_by_gpus_where_tasks_need_them(settings, cores, wanted, slots):
    conf = SparkConf(loadDefaults=False, _jvm=None)
    for name, value in settings.items():
        conf.set(f"spark.{name}", value)
    context = SimpleNamespace(getConf=lambda: conf, defaultParallelism=cores)
    assert slots_of(cast(Any, SimpleNamespace(sparkContext=context)), wanted) == slots
