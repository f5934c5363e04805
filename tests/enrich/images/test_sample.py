"""A sample of images tells a lost mount from a few lost files."""

import pytest

from enrich.images.store import ImageSample, ImageStore, sum_up, try_images


@pytest.fixture
def shop(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(b"not decoded here")
    return tmp_path


PATHS = [f"{number}.jpg" for number in range(30)]


def test_readable_and_missing_images_are_counted(shop):
    (shop / "3.jpg").unlink()
    found = sum_up(try_images(ImageStore(str(shop)), PATHS))
    assert found[:2] == (30, 29)
    assert found.problem is not None and f"{shop}/3.jpg" in found.problem
    assert found.problem.startswith("3.jpg: image_missing: ")


def test_lost_mount_reads_nothing(tmp_path):
    sample = sum_up(try_images(ImageStore(str(tmp_path / "lost")), PATHS))
    assert sample[:2] == (30, 0)
    assert sample.problem is not None and f"{tmp_path}/lost/0.jpg" in sample.problem


def test_image_outside_the_allowed_roots_does_not_count_as_read(shop):
    (shop / "inside").mkdir()
    sample = sum_up(try_images(ImageStore(str(shop / "inside")), ["../1.jpg"]))
    assert sample == ImageSample(1, 0, "../1.jpg: image_forbidden: outside the allowed image roots")


def test_a_login_is_hidden_however_long_it_is(tmp_path):
    path = f"https://feed:{'eyJhbGciOiJIUzI1NiJ9' * 20}@cdn.example/a.jpg"
    problem = sum_up(try_images(ImageStore(str(tmp_path)), [path])).problem
    assert problem is not None and problem.startswith("https://***@cdn.example/a.jpg: ")


def test_no_path_is_no_trial(tmp_path):
    assert sum_up(try_images(ImageStore(str(tmp_path)), [])) == ImageSample(0, 0, None)


def test_paths_with_one_and_the_same_picture_are_counted_once_each(shop):
    (shop / "3.jpg").write_bytes(b"another one")
    sample = sum_up(try_images(ImageStore(str(shop)), [*PATHS, "0.jpg", "nowhere.jpg"]))
    assert (sample.tried, sample.read, sample.paths, sample.alike) == (32, 31, 30, 29)
