"""Processes of torchrun: they leave together, or one ends alone and torchrun ends the others."""

import os
from unittest.mock import Mock

import pytest
import torch
import torch.distributed as dist

from enrich.training.distributed import process_group


@pytest.fixture
def left(monkeypatch):
    """Plays torchrun without a GPU; returns what is called where the group is left."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", Mock())
    monkeypatch.setattr(dist, "destroy_process_group", leave := Mock())
    return leave


def test_a_process_that_fails_ends_without_waiting_for_the_others(left):
    with pytest.raises(MemoryError), process_group():
        raise MemoryError
    left.assert_not_called()


def test_a_process_that_is_done_leaves_the_group(left):
    with process_group():
        left.assert_not_called()
    left.assert_called_once()


@pytest.mark.usefixtures("left", "own_threads")
@pytest.mark.parametrize("set_to, threads", [("1", 4), ("3", 3)])
def test_processes_share_the_cores_unless_told_how_many_threads_to_use(
    set_to, threads, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    torch.set_num_threads(int(set_to))
    with process_group():
        assert torch.get_num_threads() == threads
