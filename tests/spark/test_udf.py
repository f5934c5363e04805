"""The engine that a Python worker keeps is that of its task's recipe, device and cores."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from enrich.config import ImageIdentity
from enrich.errors import ConfigError
from enrich.images.limits import ImageLimits
from enrich.images.store import ImageStore
from enrich.records import EnrichedProduct, Modalities, Product, Status
from enrich.spark.inference import device, udf


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


@dataclass(frozen=True, slots=True)
class Fails:
    """Recipe of an engine that cannot be built."""

    error: RuntimeError

    def build(self, device: torch.device) -> object:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_a_gpu_that_has_no_room_for_one_more_engine_says_how_many_tasks_may_share_it(
    loads: Any, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    monkeypatch.setattr(device, "choose_device", lambda: torch.device("cuda", 1))
    with pytest.raises(ConfigError, match=r"cuda:1 has no memory .* --master 'local\[4\]'"):
        udf._engine_of_this_worker(Fails(error), loads)


def test_a_gpu_that_torch_is_not_built_for_is_named(
    loads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "choose_device", lambda: torch.device("cuda", 0))
    error = RuntimeError("CUDA error: no kernel image is available for execution on the device")
    with pytest.raises(ConfigError, match="cuda:0 is of a kind that this torch"):
        udf._engine_of_this_worker(Fails(error), loads)


def test_another_error_while_an_engine_is_built_stays_what_it_is(loads: Any) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        udf._engine_of_this_worker(Fails(RuntimeError("a bug")), loads)


@dataclass(frozen=True, slots=True)
class Sees:
    """Recipe of an engine that finds the same file wherever an image should be."""

    data: bytes
    attributes: tuple[str, ...] = ()

    def build(self, device: torch.device) -> "Sees":
        return self

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        digest = hashlib.sha256(self.data).hexdigest()
        for one in products:
            yield EnrichedProduct(
                one.product_id, Status.OK, Modalities.IMAGE_AND_TEXT, (), image_digest=digest
            )


def test_an_image_that_is_written_over_during_the_run_is_asked_about_again(
    loads: Any, tmp_path: Path
) -> None:
    (tmp_path / "same.jpg").write_bytes(b"picture")
    (tmp_path / "other.jpg").write_bytes(b"another picture, which came back after the run")
    store = ImageStore(str(tmp_path))
    paths = ["same.jpg", "other.jpg", "late.jpg"]
    frame = pd.DataFrame({"product_id": ["1", "2", "3"], "title": "shirt", "image_path": paths})
    frame = frame.assign(description=None, product_category=None)
    identity = ImageIdentity.CONTENT
    frame["content_hash"] = [
        udf.hash_content("shirt", None, path, store, identity) for path in paths
    ]

    (answers,) = udf.build_answers(Sees(b"picture"), loads, identity)([frame])

    assert answers["status"].tolist() == ["ok", "image_unreadable", "image_unreadable"]
    assert answers["error"].tolist() == [None, udf._CHANGED, udf._CHANGED]


@dataclass(frozen=True, slots=True)
class Blind:
    """Recipe of an engine that finds no image any more."""

    attributes: tuple[str, ...] = ()

    def build(self, device: torch.device) -> "Blind":
        return self

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        for one in products:
            yield EnrichedProduct(one.product_id, Status.IMAGE_MISSING, Modalities.TEXT, ())


@dataclass(frozen=True, slots=True)
class Refuses(Blind):
    """Recipe of an engine to which every image is too large."""

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        for one in products:
            yield EnrichedProduct(one.product_id, Status.IMAGE_TOO_LARGE, Modalities.TEXT, ())


@pytest.mark.parametrize(
    ("identity", "first"),
    [(ImageIdentity.CONTENT, "image_unreadable"), (ImageIdentity.STAT, "image_too_large")],
)
def test_an_image_that_was_not_too_large_for_its_hash_is_asked_about_again(
    loads: Any, tmp_path: Path, identity: ImageIdentity, first: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    (tmp_path / "b.jpg").write_bytes(b"picture" * 1_000)
    store = ImageStore(str(tmp_path), limits=ImageLimits(max_bytes=1_000))
    frame = pd.DataFrame({"product_id": ["1", "2"], "image_path": ["a.jpg", "b.jpg"]})
    frame = frame.assign(title="shirt", description=None, product_category=None)
    frame["content_hash"] = [
        udf.hash_content("shirt", None, path, store, identity) for path in frame["image_path"]
    ]
    (answers,) = udf.build_answers(Refuses(), loads, identity)([frame])
    assert answers["status"].tolist() == [first, "image_too_large"]


@pytest.mark.parametrize(
    ("identity", "statuses"),
    [
        (ImageIdentity.CONTENT, ["image_unreadable", "image_missing"]),
        (ImageIdentity.STAT, ["image_unreadable", "image_missing"]),
    ],
)
def test_an_image_that_was_there_for_its_hash_and_is_gone_is_asked_about_again(
    loads: Any, tmp_path: Path, identity: ImageIdentity, statuses: list[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    store = ImageStore(str(tmp_path))
    rows = [("1", "shirt", "a.jpg"), ("2", "shoes", "never.jpg")]
    frame = pd.DataFrame(rows, columns=["product_id", "title", "image_path"])
    frame = frame.assign(description=None, product_category=None)
    frame["content_hash"] = [
        udf.hash_content(title, None, path, store, identity) for _, title, path in rows
    ]
    (answers,) = udf.build_answers(Blind(), loads, identity)([frame])
    assert answers["status"].tolist() == statuses
    assert answers["content_hash"].tolist() == frame["content_hash"].tolist()
