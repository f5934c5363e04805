"""Wait until a product table at a local path is written to its end."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from catalog_tasks.product_table import is_written

Write = Callable[..., Path]


@pytest.fixture
def shop(tmp_path):
    return tmp_path / "shop"


@pytest.fixture
def write(shop):
    """Returns a function that writes a file of the shop, long ago unless it is written just now."""

    def write(name, *, now=False):
        file = shop / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        if not now:
            os.utime(file, (0, 0))
        return file

    return write


@pytest.mark.parametrize("name", ["products.parquet", "products.csv/day=1/hour=2/part-0"])
def test_a_table_is_waited_for_until_its_files_are_quiet(shop, write, name):
    assert not is_written(shop)
    file = write(name, now=True)
    assert not is_written(shop)
    assert not is_written(file)
    write(name)
    assert is_written(shop)
    assert is_written(file)


@pytest.mark.parametrize("unfinished", ["_temporary/0/_temporary/attempt_1", ".spark-staging-1"])
def test_what_spark_has_not_moved_to_its_place_is_no_table_yet(shop, write, unfinished):
    write("products/part-0.parquet")
    assert is_written(shop)
    write(f"products/{unfinished}/part-1.parquet")
    assert not is_written(shop)


def test_images_are_left_out(shop, write):
    write("images/1.jpg")
    assert not is_written(shop)
    write("products.parquet")
    write("images/2.PNG", now=True)
    assert is_written(shop)


def test_a_file_that_is_gone_holds_nothing_up(shop, write):
    write("part-0.parquet")
    (shop / "gone.parquet").symlink_to("nowhere")
    assert is_written(shop)


def test_a_file_dated_in_the_future_is_quiet_a_minute_after_it_came(shop, write, monkeypatch):
    came = time.time()
    os.utime(write("products.csv"), (came + 8 * 3600, came + 8 * 3600))  # as from a zip archive
    assert not is_written(shop)
    monkeypatch.setattr(time, "time", lambda: came + 90)
    assert is_written(shop)


@pytest.mark.parametrize("folder", [".", "products"])
def test_delta_shows_whole_commits_only(shop, write, folder):
    write(f"{folder}/part-0.parquet", now=True)
    assert not is_written(shop)
    (shop / folder / "_delta_log").mkdir()
    assert is_written(shop)
