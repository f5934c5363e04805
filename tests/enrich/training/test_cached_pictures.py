"""What cannot be decoded is said, and nothing that may pass is kept for ever."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from labelled import labelled_products

from enrich.errors import ConfigError, StorageFailed
from enrich.images.settings import ImageProblem, ImageShape
from enrich.images.store import ImageStore
from enrich.records import Status
from enrich.training import caches
from enrich.training.caches import CachedImages

SHAPE = ImageShape(size_px=64, fit="pad", mean=(0, 0, 0), std=(1, 1, 1))
PRODUCTS = labelled_products(["a", "b"], "shop", image_paths=["red.jpg", "blue.jpg"])
Cache = Callable[..., CachedImages]


def test_pictures_that_cannot_be_read_are_counted_on_standard_error_alone(cache, capsys):
    images = cache("red.jpg", "bad.jpg", "gone.jpg", "lost.jpg", None, " ")
    assert images.has_image.tolist() == [True] + [False] * 5
    said = capsys.readouterr()
    assert "3 of 4 images cannot be read: 2 image_missing, 1 image_corrupt" in said.err
    assert said.out == ""


def test_unreadable_pictures_are_refused_and_absent_ones_are_not(cache):
    with pytest.raises(ConfigError, match="not one of 2 images can be read"):
        cache("gone.jpg", "bad.jpg", None)
    assert not cache(None, "").has_image.any()


def test_the_next_run_reads_a_picture_again_that_a_store_failed_to_give(cache, monkeypatch):
    read = ImageStore.read

    def fail(store, image_path):
        if image_path == "blue.jpg":
            raise ImageProblem(Status.IMAGE_UNREADABLE, "no answer")
        return read(store, image_path)

    with monkeypatch.context() as patch:
        patch.setattr(ImageStore, "read", fail)
        first = cache("red.jpg", "blue.jpg")
    features = first.folder / "image_features-1-0.npy"
    features.touch()
    with monkeypatch.context() as patch:
        patch.setattr("enrich.training.caches.rank", lambda: 1)
        other_process = cache("red.jpg", "blue.jpg")
    again = cache("red.jpg", "blue.jpg")
    assert first.has_image.tolist() == other_process.has_image.tolist() == [True, False]
    assert again.has_image.all() and not features.exists()
    assert first.pixels[0].any() and not first.pixels[1].any()
    (first.folder / "kept").touch()
    cache("red.jpg", "blue.jpg")
    assert (first.folder / "kept").exists(), "what is whole is kept"


def test_pictures_are_decoded_once_and_read_anew_when_they_came_or_changed(cache, tmp_path):
    first = cache("red.jpg", "late.jpg")
    assert first.has_image.tolist() == [True, False]
    assert first.pixels[0, 0].mean() > 190 and first.pixels[0, 1:].mean() < 60
    decoded = first.folder.stat().st_mtime_ns
    assert (cache("red.jpg", "late.jpg").pixels == first.pixels).all()
    assert first.folder.stat().st_mtime_ns == decoded
    shutil.copy(tmp_path / "blue.jpg", tmp_path / "late.jpg")
    assert cache("red.jpg", "late.jpg").has_image.all()
    uri = (tmp_path / "red.jpg").as_uri()
    before = cache(uri, None)
    (tmp_path / "red.jpg").write_bytes((tmp_path / "blue.jpg").read_bytes())
    third = cache("red.jpg", "late.jpg")
    assert (third.pixels[0] == third.pixels[1]).all() and (first.pixels[0] != third.pixels[0]).any()
    assert (cache(uri, None).pixels[0] != before.pixels[0]).any()


def test_a_product_without_a_picture_does_not_depend_on_other_files(cache, tmp_path):
    first = cache("red.jpg", None)
    (tmp_path / "half-towers").mkdir()
    assert cache("red.jpg", None).folder == first.folder


def test_a_cache_without_its_list_of_pictures_is_incomplete(cache, monkeypatch):
    def fill_the_disk(file, array):
        with file if hasattr(file, "write") else Path(file).open("wb") as out:
            out.write(b"\x93NUMPY")
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(caches.np, "save", fill_the_disk)
        cache("red.jpg", "blue.jpg")
    assert cache("red.jpg", "blue.jpg").has_image.all()


def test_a_training_that_finds_another_at_the_same_pictures_waits_for_it(cache, monkeypatch):
    decode_all, decoded = caches.decode_all, []

    def decode_slowly(*args):
        decoded.append(args)
        time.sleep(0.3)
        return decode_all(*args)

    monkeypatch.setattr(caches, "decode_all", decode_slowly)
    with ThreadPoolExecutor(2) as trainings:
        found = list(trainings.map(lambda _: cache("red.jpg", "blue.jpg"), range(2)))
    assert len(decoded) == 1, "the second one wrote over what the first was writing"
    assert all(one.pixels.any(axis=(1, 2, 3)).all() for one in found)


def test_an_error_ends_the_decoding_without_waiting_for_all_other_pictures(cache, monkeypatch):
    decoded = []

    def decode(products, row, shape):
        decoded.append(row)
        if row == 3:
            raise OSError("a damaged chunk")
        return np.zeros((3, shape.size_px, shape.size_px), np.uint8)

    monkeypatch.setattr(caches, "decode_one", decode)
    with pytest.raises(OSError, match="a damaged chunk"):
        cache(*["red.jpg"] * 2000)
    assert len(decoded) < 500


def test_a_complete_cache_that_cannot_be_written_is_read(cache, monkeypatch):
    cache("red.jpg", "blue.jpg")

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(caches, "FileLock", refuse)
    assert cache("red.jpg", "blue.jpg").has_image.all()


def test_a_disk_without_room_is_refused_before_decoding(cache, tmp_path, monkeypatch):
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFailed, match=r"No space left.*0\.0 GB"):
        cache("red.jpg")
    assert not list(tmp_path.rglob("*.npy"))
