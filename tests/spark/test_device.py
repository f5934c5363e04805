"""Which device a task's engine runs on."""

import os
from types import SimpleNamespace

import pytest
import torch

from enrich.errors import ConfigError
from enrich.spark import worker as device


def assign(monkeypatch, addresses, gpus, cpus=1, partition=0, starts=True):
    resources = {} if addresses is None else {"gpu": SimpleNamespace(addresses=addresses)}
    context = SimpleNamespace(
        resources=lambda: resources, cpus=lambda: cpus, partitionId=lambda: partition
    )
    monkeypatch.setattr(device, "TaskContext", SimpleNamespace(get=lambda: context))
    device._count_gpus.cache_clear()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0 and starts)


@pytest.mark.parametrize(
    ("assigned", "gpus", "chosen"), [(["1"], 2, "cuda:1"), (None, 1, "cuda:0"), (None, 0, "cpu")]
)
def test_a_task_runs_on_the_gpu_that_spark_assigned_or_that_is_visible(
    monkeypatch, assigned, gpus, chosen
):
    assign(monkeypatch, assigned, gpus)
    assert device.choose_device() == torch.device(chosen)


def test_without_an_assignment_workers_share_all_visible_gpus(monkeypatch):
    for first_task, gpu in ((0, 0), (1, 1), (3, 1)):
        device._first_task.cache_clear()
        assign(monkeypatch, None, gpus=2, partition=first_task)
        assert device.choose_device() == torch.device("cuda", gpu)
        # Its engine is there.
        assign(monkeypatch, None, gpus=2, partition=first_task + 1)
        assert device.choose_device() == torch.device("cuda", gpu)


def test_an_assigned_gpu_that_is_not_there_names_the_setting(monkeypatch):
    assign(monkeypatch, ["3"], gpus=1)
    with pytest.raises(ConfigError, match=r"spark\.executor\.resource\.gpu\.discoveryScript"):
        device.choose_device()


def test_a_gpu_that_cuda_cannot_use_is_none_and_the_log_says_so(monkeypatch, caplog):
    # As with a driver that is too old: the cards are counted, and CUDA does not start.
    assign(monkeypatch, None, gpus=1, starts=False)
    assert device.choose_device() == torch.device("cpu")
    assert "driver too old" in caplog.text
    assign(monkeypatch, ["0"], gpus=1, starts=False)
    with pytest.raises(ConfigError, match="the driver"):
        device.choose_device()


@pytest.mark.usefixtures("own_threads")
def test_threads_are_as_many_as_the_stage_gives_the_task_cores(monkeypatch):
    assign(monkeypatch, ["0"], gpus=1, cpus=3)
    monkeypatch.setenv("RAYON_NUM_THREADS", "")  # so that it is put back
    monkeypatch.delenv("RAYON_NUM_THREADS")
    device.use_task_cores()
    assert torch.get_num_threads() == 3
    assert os.environ["RAYON_NUM_THREADS"] == "3"
