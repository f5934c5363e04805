"""Files on a disk and in an object store, by the same calls; the store is moto's."""

import errno
import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
import typer
from object_store import served_bucket

from enrich.cli import written_outcome
from enrich.config import JobConfig
from enrich.errors import ConfigError, NoAnswer, TooManyFailures
from enrich.metrics import write_metrics
from enrich.places import (
    ObjectUri,
    atomic_write,
    atomic_write_folder,
    names_in,
    parse_place,
    prepare_target,
    remove_place,
    start_in,
    write_place,
)
from enrich.settings_files import load_yaml
from expectations.baseline import load_baseline

HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bucket():
    with served_bucket() as address:
        yield address


def is_known(error):
    return None


def test_a_file_is_the_same_on_a_disk_and_in_a_store(bucket, tmp_path):
    for folder in (tmp_path, parse_place(f"{bucket}/out")):
        write_place(folder / "pages" / "ä b.html", "<p>ä".encode())
        write_place(folder / "pages" / "deeper" / "c.html", b"")
        assert (folder / "pages" / "ä b.html").read_text("utf-8") == "<p>ä"
        assert names_in(folder / "pages") >= {"ä b.html"}
        assert "c.html" not in names_in(folder / "pages")
        assert names_in(folder / "nowhere") == set()
        with pytest.raises(OSError) as found:
            (folder / "nowhere").read_bytes()
        assert found.value.errno == errno.ENOENT
    listed = boto3.client("s3").head_object(Bucket="lake", Key="out/pages/ä b.html")
    assert listed["ContentType"] == "text/html"


def test_a_folder_is_removed_with_its_folders_and_no_other(bucket, tmp_path):
    for folder in (tmp_path, parse_place(f"{bucket}/temporary")):
        for name in ("run/diff/part", "run/part", "run2/part"):
            write_place(folder / name, b"rows")
        assert remove_place(folder / "run")
        assert not remove_place(folder / "run")
        assert (folder / "run2" / "part").read_bytes() == b"rows"
        with pytest.raises(FileNotFoundError):
            (folder / "run" / "diff" / "part").read_bytes()


@pytest.mark.parametrize(
    "given",
    ["", "http://lake/x", "hdfs://lake/x", "s3:///x", "s3://lake/../x", "s3://lake/x?versionId=1"],
)
def test_what_names_no_place_is_refused(given):
    with pytest.raises(ValueError, match="expected"):
        parse_place(given)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ConfigError) as found:
        parse_place("s3://me:hush@lake/x")
    assert "hush" not in str(found.value)


def test_settings_in_a_store_start_their_relative_paths_there(bucket):
    file = parse_place(f"{bucket}/conf/shop.yaml")
    write_place(file, b"report_dir: pages\nmetrics_dir: /var/m\nbaseline: base.json\n")
    settings = load_yaml(file, JobConfig).starting_from(file.parent)
    assert str(settings.report_dir) == "s3://lake/conf/pages"
    assert settings.metrics_dir == Path("/var/m")
    demo = (HERE / "expectations" / "baselines" / "demo.json").read_bytes()
    write_place(settings.baseline, demo)
    assert load_baseline(settings.baseline).catalog == "demo"
    with pytest.raises(ConfigError, match=r"s3://lake/conf/other\.json"):
        load_baseline(file.parent / "other.json")
    with pytest.raises(ConfigError, match=r"s3://lake/conf/gone\.yaml"):
        load_yaml(file.parent / "gone.yaml", JobConfig)


def test_a_store_that_is_down_may_answer_later(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(NoAnswer):
        load_yaml(parse_place("s3://lake/shop.yaml"), JobConfig)


def test_metrics_in_a_store_remember_the_last_success(bucket):
    folder, began = parse_place(f"{bucket}/metrics"), datetime(2026, 12, 1, tzinfo=UTC)
    for outcome in ("published", "blocked"):
        write_metrics(folder, "shop", {"outcome": outcome}, began, began)
    text = (folder / "catalog_enrichment_shop_success.prom").read_text()
    (success,) = re.findall(r"^\S+last_success_timestamp_seconds\S+ (.*)$", text, re.MULTILINE)
    assert float(success) == began.timestamp()


def test_paths_start_in_the_folder_of_the_settings(tmp_path):
    assert start_in(tmp_path, Path("pages")) == tmp_path / "pages"
    assert str(start_in(tmp_path, parse_place("s3://lake/x"))) == "s3://lake/x"


# The outcome of a run


def ended(place):
    return json.loads(place.read_text())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (typer.Exit(0), {"exit_code": 0}),
        (typer.Exit(3), {"exit_code": 3}),
        (ConfigError("no such"), {"outcome": "failed", "exit_code": 2, "error": "no such"}),
        (TooManyFailures("many"), {"outcome": "failed", "exit_code": 3, "error": "many"}),
        (RuntimeError("lost"), {"outcome": "failed", "exit_code": 1, "error": "lost"}),
    ],
    ids=str,
)
def test_the_outcome_is_written_where_the_driver_ends(bucket, error, said):
    place = parse_place(f"{bucket}/runs/1.json")
    assert isinstance(place, ObjectUri)
    with pytest.raises(type(error)), written_outcome(place, is_known):
        assert ended(place) == {"outcome": "running", "exit_code": None}
        raise error
    assert ended(place) == said


def test_an_outcome_that_cannot_be_written_is_found_before_any_work(tmp_path):
    (tmp_path / "taken").touch()
    with (
        pytest.raises(ConfigError, match="--summary"),
        written_outcome(tmp_path / "taken" / "1.json", is_known),
    ):
        pytest.fail("the run has begun")


@pytest.mark.parametrize("output", ["s3://shop/out.parquet", "s3://shop", "file:///out.csv"])
def test_a_uri_is_no_file_below_a_folder_called_like_its_scheme(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is not a local path"):
        prepare_target(Path(output))
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_writing_fails_stays_as_it_was_and_nothing_lies_beside_it(tmp_path):
    file = tmp_path / "page.html"
    file.write_text("yesterday's")

    with pytest.raises(OSError, match="disk"), atomic_write(file) as partial:
        partial.write_text("tod")
        raise OSError("disk is full")

    assert file.read_text() == "yesterday's"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_file_is_not_there_before_all_of_it_is(tmp_path):
    file = tmp_path / "new" / "folder" / "page.html"

    with atomic_write(file) as partial:
        partial.write_text("today's")
        assert not file.exists()

    assert file.read_text() == "today's"


def test_of_two_that_write_at_a_time_the_last_one_s_stays_whole(tmp_path):
    file = tmp_path / "page.html"

    with atomic_write(file) as first:
        first.write_text("first")
        with atomic_write(file) as second:
            second.write_text("second")
        assert file.read_text() == "second"

    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_whose_writing_fails_stays_as_it_was_and_nothing_lies_beside_it(
    tmp_path, is_there
):
    folder = tmp_path / "checkpoint"
    if is_there:
        folder.mkdir()
        (folder / "config.json").write_text("yesterday's")

    with pytest.raises(OSError, match="disk"), atomic_write_folder(folder) as partial:
        (partial / "config.json").write_text("tod")
        raise OSError("disk is full")

    found = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert found == (["yesterday's"] if is_there else [])
    assert [path.name for path in tmp_path.iterdir()] == (["checkpoint"] if is_there else [])


def test_a_folder_that_is_there_is_replaced(tmp_path):
    folder = tmp_path / "new" / "checkpoint"
    for name in ("yesterday.json", "today.json"):
        with atomic_write_folder(folder) as partial:
            (partial / name).touch()

    assert [file.name for file in folder.iterdir()] == ["today.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_process_that_is_killed_while_it_replaces_a_folder_loses_neither(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    with atomic_write_folder(folder) as partial:
        (partial / "yesterday.json").touch()

    def killed(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic_write_folder(folder) as partial:
        (partial / "today.json").touch()
        monkeypatch.setattr(shutil, "rmtree", killed)

    assert {one.name for one in tmp_path.rglob("*.json")} == {"yesterday.json", "today.json"}


def test_two_writers_of_a_folder_do_not_meet(tmp_path):
    folder = tmp_path / "checkpoint"
    with atomic_write_folder(folder) as one:
        (one / "one.json").touch()
        with atomic_write_folder(folder) as other:
            (other / "other.json").touch()
    assert [path.name for path in folder.iterdir()] == ["one.json"]
