"""What counts as the same product: its text as read, and its image's identity."""

import os
from pathlib import Path

import pytest

from enrich.config import ImageIdentity
from enrich.images.store import ImageStore
from enrich.spark.inference.udf import hash_content


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    return ImageStore(str(tmp_path))


def content(store: ImageStore, title: str = "shirt", image: str | None = "a.jpg") -> str:
    return hash_content(title, None, image, store, ImageIdentity.CONTENT)


def test_spaces_and_control_characters_do_not_make_a_product_new(store: ImageStore) -> None:
    assert content(store, "red  shirt\x00") == content(store, "red shirt")


def test_another_title_makes_it_new(store: ImageStore) -> None:
    assert content(store, "red shirt") != content(store, "blue shirt")


def test_other_pixels_under_the_same_path_make_it_new(store: ImageStore, tmp_path: Path) -> None:
    before = content(store)
    (tmp_path / "a.jpg").write_bytes(b"another")
    assert content(store) != before


def test_the_same_pixels_at_another_path_are_the_same(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "copy.jpg").write_bytes(b"picture")
    assert content(store, image="copy.jpg") == content(store)


def test_missing_and_forbidden_images_differ_from_each_other(store: ImageStore) -> None:
    kinds = {content(store), content(store, image="gone.jpg"), content(store, image="../x.jpg")}
    assert len(kinds) == 3


def test_by_stat_a_file_rewritten_in_the_same_length_is_new(
    store: ImageStore, tmp_path: Path
) -> None:
    before = hash_content("t", None, "a.jpg", store, ImageIdentity.STAT)
    written_at = (tmp_path / "a.jpg").stat().st_mtime_ns
    (tmp_path / "a.jpg").write_bytes(b"another")
    os.utime(tmp_path / "a.jpg", ns=(written_at, written_at + 1_000))
    assert hash_content("t", None, "a.jpg", store, ImageIdentity.STAT) != before
