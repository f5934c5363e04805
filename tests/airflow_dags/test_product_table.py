"""When a product table at a local path is written to its end."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from catalog_tasks.product_table import is_written

Write = Callable[..., Path]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def write(shop: Path) -> Write:
    """Returns a function that writes a file of the shop, long ago unless it is written just now."""

    def write(name: str, *, now: bool = False) -> Path:
        file = shop / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        if not now:
            os.utime(file, (0, 0))
        for folder, _, _ in os.walk(shop):
            os.utime(folder, (0, 0))
        return file

    return write


@pytest.mark.parametrize(
    "name",
    [
        "products.parquet",
        "part-0.parquet",
        "products/part-0.parquet",
        "day=1/a.parquet",
        "_day=1/a.parquet",
        "products.parquet/day=1/hour=2/part-0",
        "part-0.csv.gz",
        "part-0.jsonl.ZST",
    ],
)
def test_a_table_is_waited_for_until_its_files_are_quiet(
    shop: Path, write: Write, name: str
) -> None:
    assert not is_written(shop)
    file = write(name, now=True)
    assert not is_written(shop)
    assert not is_written(file)
    write(name)
    assert is_written(shop)
    assert is_written(file)


@pytest.mark.parametrize("unfinished", ["_temporary/0/_temporary/attempt_1", ".spark-staging-1"])
@pytest.mark.parametrize("table", [".", "products", "products.parquet"])
def test_what_spark_has_not_moved_to_its_place_is_no_table_yet(
    shop: Path, write: Write, table: str, unfinished: str
) -> None:
    write(f"{table}/part-0.parquet")
    assert is_written(shop)
    write(f"{table}/{unfinished}/part-1.parquet")
    assert not is_written(shop)


@pytest.mark.parametrize(
    "name", [None, "_SUCCESS", ".part-0.parquet.crc", "images/1.jpg", ".x/y", "README.md"]
)
def test_a_folder_without_data_is_no_table_yet(shop: Path, write: Write, name: str | None) -> None:
    shop.mkdir()
    os.utime(shop, (0, 0))
    if name:
        write(name)
    assert not is_written(shop)


def test_a_part_that_was_moved_in_just_now_is_waited_for(shop: Path, write: Write) -> None:
    part = write("part-0.parquet").rename(shop / "part-1.parquet")
    assert part.stat().st_mtime == 0
    assert not is_written(shop)


@pytest.mark.parametrize(
    "name", ["images/1.jpg", "images/2.PNG", "1.webp", "labels/a.parquet", "notes.txt"]
)
def test_images_and_what_lies_beside_the_table_are_left_out(
    shop: Path, write: Write, name: str
) -> None:
    write("products.parquet")
    write(name, now=True)
    assert is_written(shop)


def test_a_folder_of_images_called_as_a_table_may_be_is_none(shop: Path, write: Write) -> None:
    write("products/1.jpg")
    write("products.csv", now=True)
    assert not is_written(shop)
    write("products.csv")
    assert is_written(shop)
    # Now there is one, which goes before.
    write("products/_temporary/0")
    assert not is_written(shop)


def test_images_below_a_folder_of_parts_are_left_out(shop: Path, write: Write) -> None:
    write("part-0.parquet")
    write("images/1.jpg", now=True)
    os.utime(shop / "images")
    assert is_written(shop)
    write("part-1.parquet.unfinished", now=True)
    assert not is_written(shop)


def test_images_beside_parts_hold_nothing_up(shop: Path, write: Write) -> None:
    write("part-0.parquet")
    write("1.jpg", now=True)
    os.utime(shop)
    assert is_written(shop)


def test_a_file_that_is_gone_holds_nothing_up(shop: Path, write: Write) -> None:
    write("part-0.parquet")
    (shop / "gone.parquet").symlink_to("nowhere")
    os.utime(shop, (0, 0))
    assert is_written(shop)


def test_a_file_dated_in_the_future_is_quiet_a_minute_after_it_came(
    shop: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = time.time()
    os.utime(write("products.csv"), (came + 8 * 3600, came + 8 * 3600))  # as from a zip archive
    assert not is_written(shop)
    monkeypatch.setattr(time, "time", lambda: came + 90)
    assert is_written(shop)


def test_of_a_clock_that_was_fast_when_a_table_was_written_the_log_knows(
    shop: Path, write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    table = write("products.csv", now=True)
    put_right = table.stat().st_ctime - 3 * 3600
    monkeypatch.setattr(time, "time", lambda: put_right)
    assert not is_written(table)
    assert f"{table} was written 10,800 s after now: is this machine's clock right?" in caplog.text


def test_what_is_waited_for_is_logged_at_each_look(
    shop: Path, write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(time, "time", lambda: 10)
    is_written(shop)
    shop.mkdir()
    is_written(shop)
    write("products/part-0.parquet")
    is_written(shop)
    write("products/_temporary/0/part-1.parquet")
    is_written(shop)
    table = shop / "products"
    assert [line.removeprefix("waiting for products: ") for line in caplog.messages] == [
        f"{shop} is not there",
        f"{shop} holds no data that can be read",
        f"{table} was written to 10 s ago",
        f"{table} is being replaced, or its writer was killed: it holds {table}/_temporary",
    ]
    caplog.clear()
    (table / "_temporary").rename(table / "_committed")
    os.utime(table, (0, 0))
    monkeypatch.setattr(time, "time", lambda: 61)
    assert is_written(shop)
    assert not caplog.messages


@pytest.mark.parametrize("folder", [".", "products"])
def test_delta_shows_whole_commits_only(shop: Path, write: Write, folder: str) -> None:
    write(f"{folder}/part-0.parquet", now=True)
    assert not is_written(shop)
    (shop / folder / "_delta_log").mkdir()
    assert is_written(shop)
