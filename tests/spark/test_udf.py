"""The engine that a Python worker keeps is that of its task's recipe, device and cores."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from enrich.spark import device, udf


@dataclass(frozen=True, slots=True)
class Recipe:
    """Builds an engine that can be told apart from others."""

    image_root: str
    model_version: str = "one"

    def build(self, device: torch.device) -> object:
        return SimpleNamespace(root=self.image_root, device=device, threads=torch.get_num_threads())


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Notes each load, in a worker that has not loaded anything yet."""
    counted: list[dict[str, int]] = []
    monkeypatch.setattr(udf, "_LOADED", {})
    return SimpleNamespace(add=counted.append, counted=counted)


def test_the_same_recipe_is_loaded_once_in_a_worker(loads: Any) -> None:
    one = udf._engine_of_this_worker(Recipe("shop"), loads)
    # A task gets its own copy of the recipe.
    assert udf._engine_of_this_worker(Recipe("shop"), loads) is one
    assert len(loads.counted) == 1


def test_another_shop_with_the_same_checkpoint_is_not_read_under_the_first_ones_root(
    loads: Any,
) -> None:
    udf._engine_of_this_worker(Recipe("shop"), loads)
    assert udf._engine_of_this_worker(Recipe("other"), loads).root == "other"
    assert len(udf._LOADED) == 1, "the first one holds its memory"


def test_a_worker_that_is_given_another_gpu_computes_there(
    loads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (0, 1, 0):
        monkeypatch.setattr(device, "choose_device", lambda a=address: torch.device("cuda", a))
        engine = udf._engine_of_this_worker(Recipe("shop"), loads)
        assert engine.device == torch.device("cuda", address)
    assert len(loads.counted) == 2


@pytest.mark.usefixtures("own_threads")
def test_an_engine_finds_the_threads_that_its_task_has_cores(
    loads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = SimpleNamespace(resources=dict, cpus=lambda: 3)
    monkeypatch.setattr(device, "TaskContext", SimpleNamespace(get=lambda: context))
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    assert udf._engine_of_this_worker(Recipe("shop"), loads).threads == 3
