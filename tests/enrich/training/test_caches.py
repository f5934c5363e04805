"""Pictures and features: computed once, cross-fitted, and what failed is asked for again."""

import copy
import errno
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from labelled import labelled_products
from safetensors.torch import save_file
from torch import nn

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.int8 import use_int8
from enrich.errors import ConfigError, StorageFailed
from enrich.images.settings import ImageProblem, ImageShape
from enrich.images.store import ImageStore
from enrich.records import Status
from enrich.training import caches, loop
from enrich.training.batches import Condition
from enrich.training.caches import CachedImages, CachedViews, cache_views, cross_fit_views
from enrich.training.config import Phase

Cache = Callable[..., CachedImages]


@pytest.fixture
def small(small_config, tokenizer):
    torch.manual_seed(0)
    return build_classifier(small_config, tokenizer.get_vocab_size())


def _features(classifier, images):
    return np.array(cache_views(classifier, images, "image_features", 1).views[0])


def test_features_are_computed_anew_for_pictures_that_came_later(cache, small):
    images = cache("red.jpg", "blue.jpg")
    blank, none = np.zeros_like(images.pixels), np.array([False, False])
    missing = CachedImages(blank, none, images.folder)
    assert not np.array_equal(_features(small, missing), _features(small, images))


def test_features_of_int8_towers_differ_with_one_layer(cache, clip_config, tokenizer):
    one = build_classifier(clip_config, tokenizer.get_vocab_size())
    other = copy.deepcopy(one)
    # In int8 the weights stay what they were.
    next(part for part in other.image_tower.modules() if type(part) is nn.Linear).weight.data *= 2
    images, found = cache("red.jpg", "blue.jpg"), []
    for classifier in (one, other):
        use_int8(classifier.image_tower)
        found.append(_features(classifier, images))
    assert not np.array_equal(*found)


HEADS = Phase(loss="multitask", epochs=1, learning_rate=1e-3)


def _write_tower(trainer, folder, change):
    """Write the trainer's classifier, changed, as the checkpoint of a half."""
    other = copy.deepcopy(trainer.classifier)
    with torch.no_grad():
        change(other)
    folder.mkdir()
    weights = {name: one.contiguous().clone() for name, one in other.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def _shift_last_stage(classifier):
    classifier.image_tower.upper_parameters()[-1].fill_(1)


def _see(trainer, *half_towers):
    images, half = trainer.batches.images, trainer.batches.products.half
    rows = trainer.train_rows, trainer.validation_rows
    seen = cross_fit_views(trainer.classifier, images, half, *rows, half_towers, views=2)
    assert len(seen.views) == 2 and not np.array_equal(*seen.views)
    return np.array(seen.views[0], dtype=np.float32)


def test_each_half_has_features_of_the_other_half_s_tower(make, tmp_path, monkeypatch):
    # So few products say nothing of so many features: here both towers' are taken as they are.
    as_they_are = torch.eye(516, 515)
    monkeypatch.setattr(caches, "fit_map", lambda *given: as_they_are)
    trainer = make("whole")
    alike = _write_tower(trainer, tmp_path / "half-0", lambda classifier: None)
    shifted = _write_tower(trainer, tmp_path / "half-1", _shift_last_stage)

    apart = np.abs(_see(trainer, alike, shifted) - _see(trainer, alike, alike)).mean((1, 2))

    rows, held_back = trainer.train_rows, trainer.validation_rows
    half = trainer.batches.products.half[rows]
    assert (apart[held_back] == 0).all() and (apart[rows[half == 1]] == 0).all()
    assert (apart[rows[half == 0]] > 0).all()


def test_a_map_takes_one_tower_s_features_to_another_s(make, monkeypatch):
    random = np.random.default_rng(0)
    lower = tuple(random.normal(size=(60, 4, 3)).astype(np.float16) for _ in range(2))
    turn, shift = torch.randn(3, 3), torch.randn(3)
    one, own = make("one").classifier, make("own").classifier
    monkeypatch.setattr(one.image_tower, "upper", lambda lower: 2 * lower)
    monkeypatch.setattr(own.image_tower, "upper", lambda lower: 2 * lower @ turn + shift)

    fitted = caches.fit_map(one, own, CachedViews("image_lower", lower), np.arange(50))

    features = torch.from_numpy(2 * lower[0][50:].astype(np.float32))
    found = torch.cat([features, torch.ones(10, 4, 1)], dim=2) @ fitted
    torch.testing.assert_close(found, features @ turn + shift, rtol=0.02, atol=0.1)


def test_towers_of_other_lower_stages_are_refused(make, tmp_path):
    trainer = make("whole")

    def change(classifier):
        next(classifier.image_tower.pretrained().parameters()).add_(1)

    other = _write_tower(trainer, tmp_path / "half-0", change)
    with pytest.raises(ConfigError, match="other lower stages"):
        _see(trainer, other, other)


def test_a_training_sees_the_pictures_so_and_is_measured_on_the_own_tower(make, tmp_path):
    trainer = make("whole", HEADS)
    shifted = _write_tower(trainer, tmp_path / "half", _shift_last_stage)
    trainings = make("plain", HEADS), make("unseen", HEADS, half_towers=[shifted, shifted])
    for one in trainings:
        one.train()
    plain, unseen = (one.classifier.state_dict() for one in trainings)
    names = [name for name in plain if name.startswith("image_tower.backbone.")]
    assert names and all(plain[name].equal(unseen[name]) for name in names)
    assert any(not plain[name].equal(unseen[name]) for name in plain)


def test_cached_texts_are_what_the_frozen_tower_makes_of_them(make, small):
    batches = make("texts").batches
    rows = np.array([0, 5, 11])
    for condition in (Condition.AS_IS, Condition.WORDS_MASKED, Condition.OTHER_TEXT):
        batches.texts = None
        (read,) = batches.evaluation(rows, condition, 3)
        batches.cache_texts(small.eval())
        (cached,) = batches.evaluation(rows, condition, 3)
        with torch.inference_mode():
            wanted, found = small.encode_text(read), small.encode_text(cached)
        assert torch.equal(wanted.pooled_at, found.pooled_at)
        assert torch.allclose(wanted.pooled, found.pooled, atol=0.02)
        assert small.encode_text(cached).embeds is cached.text_features


def test_texts_are_cached_while_their_tower_is_frozen_and_they_are_known_before(make):
    phase = Phase(loss="multitask", epochs=1, learning_rate=1e-3)
    trained = make("trained", phase)
    trained.train()
    assert trained.batches.texts is None
    for folder, settings in (("frozen", {}), ("reworded", {"reword_text": 0.5})):
        trainer = make(folder, phase, **settings)
        trainer.classifier.text_tower.is_trained = True
        before = copy.deepcopy(trainer.classifier.text_tower.state_dict())
        trainer.train()
        assert (trainer.batches.texts is not None) == (folder == "frozen")
        after = trainer.classifier.text_tower.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_texts_and_pictures_are_cached_by_the_first_process_before_the_others(make, monkeypatch):
    trainer, events = make("first", HEADS), []

    def first_then_others(make_files):
        events.append("wait")
        made = make_files()
        events.append("done")
        return made

    def record(name, compute, *given):
        events.append(name)
        return compute(*given)

    batches = trainer.batches
    trainer.classifier.text_tower.is_trained = True
    monkeypatch.setattr(loop, "first_then_others", first_then_others)
    monkeypatch.setattr(loop, "cache_views", partial(record, "views", loop.cache_views))
    monkeypatch.setattr(batches, "cache_texts", partial(record, "texts", batches.cache_texts))
    trainer.train()
    assert events == ["wait", "views", "done", "wait", "texts", "done"]


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
    with monkeypatch.context() as patch:
        patch.setattr("enrich.training.caches.rank", lambda: 1)
        other_process = cache("red.jpg", "blue.jpg")
    again = cache("red.jpg", "blue.jpg")
    assert first.has_image.tolist() == other_process.has_image.tolist() == [True, False]
    assert again.has_image.all() and again.pixels[1].any()
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


def test_two_trainings_at_the_same_pictures_leave_whole_ones(cache, monkeypatch):
    decode_all, both = caches.decode_all, threading.Barrier(2)

    def decode_at_once(*args):
        both.wait(10)
        return decode_all(*args)

    monkeypatch.setattr(caches, "decode_all", decode_at_once)
    with ThreadPoolExecutor(2) as trainings:
        found = list(trainings.map(lambda _: cache("red.jpg", "blue.jpg"), range(2)))
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

    monkeypatch.setattr(caches, "atomic_write", refuse)
    assert cache("red.jpg", "blue.jpg").has_image.all()


def test_a_disk_without_room_is_refused_before_decoding(cache, tmp_path, monkeypatch):
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFailed, match=r"No space left.*0\.0 GB"):
        cache("red.jpg")
    assert not list(tmp_path.rglob("*.npy"))
