"""A sample of images tells a lost mount from a few lost files."""

from pathlib import Path

import pytest

from enrich.images.sample import ImageSample, read_image_sample
from enrich.images.store import ImageStore


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(b"not decoded here")
    return tmp_path


PATHS = [f"{number}.jpg" for number in range(30)]


def test_readable_and_missing_images_are_counted(shop: Path) -> None:
    (shop / "3.jpg").unlink()
    assert read_image_sample(ImageStore(str(shop)), PATHS) == ImageSample(tried=30, read=29)


def test_lost_mount_reads_nothing(tmp_path: Path) -> None:
    sample = read_image_sample(ImageStore(str(tmp_path / "lost")), PATHS)
    assert sample == ImageSample(tried=30, read=0)


def test_image_outside_the_allowed_roots_does_not_count_as_read(shop: Path) -> None:
    (shop / "inside").mkdir()
    sample = read_image_sample(ImageStore(str(shop / "inside")), ["../1.jpg"])
    assert sample == ImageSample(tried=1, read=0)


def test_no_path_is_no_trial(tmp_path: Path) -> None:
    assert read_image_sample(ImageStore(str(tmp_path)), []) == ImageSample(tried=0, read=0)
