"""Images are read from allowed places only, and what cannot be read is a status."""

import contextlib
import errno
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError
from pyarrow import fs

from enrich.errors import ConfigError
from enrich.images.clients import is_failure, open_object_store
from enrich.images.locations import local_path, parse_location, s3_endpoint
from enrich.images.settings import ImageLimits, ImageProblem, ImageReading, ImageStat
from enrich.images.store import ImageSample, ImageStore, sum_up, try_images
from enrich.records import Status


@pytest.fixture
def root(tmp_path, write_jpeg):
    """A root with one picture, beside a folder that holds a secret one."""
    write_jpeg(tmp_path / "shop" / "a b.jpg")
    write_jpeg(tmp_path / "secret" / "x.jpg")
    write_jpeg(tmp_path / "shop-2" / "x.jpg")
    (tmp_path / "shop" / "folder.jpg").mkdir()
    (tmp_path / "shop" / "link.jpg").symlink_to(tmp_path / "secret" / "x.jpg")
    (tmp_path / "shop" / "linked").symlink_to(tmp_path / "secret")
    (tmp_path / "shop" / "inside.jpg").symlink_to(tmp_path / "shop" / "a b.jpg")
    (tmp_path / "shop" / "loop.jpg").symlink_to(tmp_path / "shop" / "loop.jpg")
    (tmp_path / "shop" / "zeros.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "shop" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path / "shop"):
        listener.bind("socket.jpg")  # by a short name: its whole path may be too long for one
    return tmp_path / "shop"


@pytest.mark.parametrize(
    ("image_path", "file"),
    [
        ("a b.jpg", "a b.jpg"),
        ("inside.jpg", "a b.jpg"),
        ("nowhere.jpg", "nowhere.jpg"),
        ("link.jpg", None),
        ("s3://shop/a.jpg", None),
        ("null\0byte.jpg", None),
        (None, None),
    ],
)
def test_a_local_picture_is_found_where_it_would_be_read(root, image_path, file):
    found = ImageStore(str(root)).find_local(image_path)
    assert found == (None if file is None else str(root.resolve() / file))


def test_a_picture_of_a_remote_shop_is_no_local_one():
    assert ImageStore("hdfs://shop/pictures").find_local("a.jpg") is None


@pytest.mark.parametrize(
    ("image_path", "status"),
    [
        (None, Status.IMAGE_MISSING),
        ("", Status.IMAGE_MISSING),
        ("nowhere.jpg", Status.IMAGE_MISSING),
        ("folder.jpg", Status.IMAGE_MISSING),
        ("a b.jpg/x.jpg", Status.IMAGE_MISSING),
        ("x" * 5_000, Status.IMAGE_MISSING),
        ("lone \ud800 surrogate.jpg", Status.IMAGE_FORBIDDEN),
        ("null\0byte.jpg", Status.IMAGE_FORBIDDEN),
        ("loop.jpg", Status.IMAGE_MISSING),
        ("../secret/x.jpg", Status.IMAGE_FORBIDDEN),
        ("../shop-2/x.jpg", Status.IMAGE_FORBIDDEN),
        ("link.jpg", Status.IMAGE_FORBIDDEN),
        ("linked/x.jpg", Status.IMAGE_FORBIDDEN),
        ("/etc/hostname", Status.IMAGE_FORBIDDEN),
        ("file:///%65tc/hostname", Status.IMAGE_FORBIDDEN),
        ("http://127.0.0.1:1/x.jpg", Status.IMAGE_FORBIDDEN),
        ("ftp://127.0.0.1:1/x.jpg", Status.IMAGE_FORBIDDEN),
        ("s3://bucket/x.jpg", Status.IMAGE_FORBIDDEN),
        ("http://[bad/x.jpg", Status.IMAGE_FORBIDDEN),
        ("ht\ntp://127.0.0.1:1/x.jpg", Status.IMAGE_FORBIDDEN),
        ("file:///%2e%2e/etc/hostname", Status.IMAGE_FORBIDDEN),
        ("%2e%2e/secret/x.jpg", Status.IMAGE_MISSING),
        ("/dev/zero", Status.IMAGE_FORBIDDEN),
        ("file:///proc/self/fd/0", Status.IMAGE_FORBIDDEN),
        ("pipe.jpg", Status.IMAGE_MISSING),
        ("zeros.jpg", Status.IMAGE_FORBIDDEN),
        (7, Status.IMAGE_MISSING),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_path_that_cannot_be_read_is_a_status(root, image_path, status):
    store = ImageStore(str(root))
    for ask in (store.read, store.stat):
        begin = time.monotonic()
        with pytest.raises(ImageProblem) as problem:
            ask(image_path)
        assert problem.value.status is status
        assert str(problem.value).encode()
        assert str(problem.value).isprintable() and len(str(problem.value)) <= 300
        assert time.monotonic() - begin < 1


@pytest.mark.parametrize("image_path", [".", "nowhere.jpg", "pipe.jpg", "link.jpg", "a b.jpg"])
def test_no_path_leaves_a_file_open(root, image_path):
    store = ImageStore(str(root))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with contextlib.suppress(ImageProblem):
            store.read(image_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("image_path", [None, "", " \t"])
def test_a_path_of_nothing_is_told_from_a_file_that_is_gone(root, image_path):
    with pytest.raises(ImageProblem, match=r"^no image path$"):
        ImageStore(str(root)).read(image_path)


def test_a_file_over_the_limit_of_bytes_is_too_large(root):
    size = (root / "a b.jpg").stat().st_size
    within = ImageStore(str(root), limits=ImageLimits(max_bytes=size))
    assert len(within.read("a b.jpg")) == size
    with pytest.raises(ImageProblem, match="max_bytes") as problem:
        ImageStore(str(root), limits=ImageLimits(max_bytes=size - 1)).read("a b.jpg")
    assert problem.value.status is Status.IMAGE_TOO_LARGE


def test_of_a_file_over_the_limit_no_more_is_read_than_tells_so(root):
    with (root / "huge.jpg").open("wb") as huge:
        huge.truncate(1 << 40)  # of holes; more than any machine has memory for
    with pytest.raises(ImageProblem) as problem:
        ImageStore(str(root), limits=ImageLimits(max_bytes=1_000)).read("huge.jpg")
    assert problem.value.status is Status.IMAGE_TOO_LARGE


def test_paths_and_file_uris_under_an_allowed_root_are_read(root):
    data = (root / "a b.jpg").read_bytes()
    store = ImageStore(str(root), (str(root.parent / "secret"), f"file://{root.parent}/shop-2"))
    for image_path in (
        "a b.jpg",
        " a b.jpg\n",
        "./folder.jpg/../a b.jpg",
        str(root / "a b.jpg"),
        f"file://{root}/a b.jpg",
        f"file://{root}/a%20b.jpg",
        "inside.jpg",
        "link.jpg",
        str(root.parent / "secret" / "x.jpg"),
        f"file://{root.parent}/shop-2/x.jpg",
    ):
        assert store.read(image_path) == data, image_path


def test_a_dot_in_a_relative_path_is_none_of_the_key_of_an_object():
    root = parse_location("s3://bucket/shop")
    for image_path in ("./images/1.jpg", "images/./1.jpg", "images/1.jpg"):
        assert parse_location(image_path, root).path == "/shop/images/1.jpg"


def test_an_object_path_cannot_climb_out_of_its_root():
    store = ImageStore("s3://bucket/shop")
    for image_path in ("../secret/x.jpg", "s3a://bucket/shop/%2e%2e/secret/x.jpg", "s3://b/shop/x"):
        with pytest.raises(ImageProblem) as problem:
            store.read(image_path)
        assert problem.value.status is Status.IMAGE_FORBIDDEN


@pytest.mark.parametrize(
    "image_path",
    [
        "s3://bucket/shop/%2e%2e/secret/x.jpg",
        "s3://bucket/shop%2f..%2fsecret/x.jpg",
        "s3://bucket%2fshop/x.jpg",
        "s3://bucket/shop/x.jpg?endpoint_override=169.254.169.254",
        "s3://bucket/shop/x.jpg#part",
        "s3://bucket/shop/x%00.jpg",
        "s3://bucket@169.254.169.254/shop/x.jpg",
        "s3://bu\ncket/shop/x.jpg",
        "s3://bucket/shopping/x.jpg",
        "x/../../secret.jpg",
    ],
)
def test_a_trick_with_the_uri_of_an_object_is_forbidden_before_anything_is_asked(
    image_path, monkeypatch
):
    # Nothing listens there: whatever is asked fails in another way.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ImageProblem) as problem:
        ImageStore("s3://bucket/shop").read(image_path)
    assert problem.value.status is Status.IMAGE_FORBIDDEN


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("http://example.org/", "'http://' is not allowed"),
        ("s3://me:hush@bucket/shop", "credentials"),
        ("abfss://shop:hush@account.dfs.core.windows.net/", "credentials"),
        ("s3://bucket/shop?endpoint_override=http://127.0.0.1&secret_key=hush", "query"),
        ("hdfs://169.254.169.254/latest", "metadata"),
        ("hdfs://2852039166/latest", "metadata"),
        ("hdfs://[::ffff:169.254.169.254]/latest", "metadata"),
        ("hdfs://[fd00:ec2::254]/latest", "metadata"),
        ("hdfs://metadata.google.internal./x", "metadata"),
        ("abfss://shop@169.254.169.254/x", "metadata"),
    ],
)
def test_a_root_with_secrets_or_at_a_machines_metadata_is_a_wrong_setting(root, message):
    with pytest.raises(ConfigError, match=message) as error:
        ImageStore(root)
    assert "hush" not in str(error.value)
    with pytest.raises(ConfigError, match=message):
        ImageStore("/", allowed_roots=(root,))


def test_an_address_of_s3_alone_goes_before_that_of_all_services(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all.example.org")
    assert s3_endpoint() == "http://all.example.org"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.example.org")
    assert s3_endpoint() == "http://s3.example.org"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "169.254.169.254:80")
    with pytest.raises(ConfigError, match="metadata"):
        ImageStore("s3://bucket/shop")
    ImageStore("/")


@pytest.mark.parametrize(
    "root",
    ["abfss://shop@account.dfs.core.windows.net/x", "gs://anonymous@shop/x", "hdfs://name:8020/x"],
)
def test_names_before_an_at_that_are_no_secret_are_allowed(root):
    ImageStore(root)


def test_credentials_in_an_image_path_are_repeated_nowhere(root):
    for image_path in (
        "s3://me:hush@bucket/x.jpg",
        "https://me:hush@example.org/x.jpg",
        "hush@s3://bucket/x.jpg",
        "s3://bucket/x.jpg?X-Amz-Signature=hush",
    ):
        with pytest.raises(ImageProblem) as problem:
            ImageStore(str(root)).read(image_path)
        assert "hush" not in str(problem.value)


def test_a_folder_that_becomes_a_link_while_its_file_is_opened_leads_nowhere(
    root, monkeypatch, write_jpeg
):
    write_jpeg(root / "season" / "x.jpg")
    really_open = os.open

    def swap_and_open(path, *arguments):
        (root / "season").rename(root / "moved")
        (root / "season").symlink_to(root.parent / "secret")
        return really_open(path, *arguments)

    monkeypatch.setattr(os, "open", swap_and_open)
    with pytest.raises(ImageProblem) as problem:
        ImageStore(str(root)).read("season/x.jpg")
    assert problem.value.status is Status.IMAGE_FORBIDDEN


def test_a_file_without_permission_or_on_a_broken_disk_is_unreadable_and_not_missing(
    root, monkeypatch
):
    tries = []

    def fail(number):
        def open_nothing(*_):
            tries.append(number)
            raise OSError(number, os.strerror(number))

        return open_nothing

    for number, attempts in ((errno.EACCES, 1), (errno.EIO, 2), (errno.ESTALE, 2)):
        tries.clear()
        monkeypatch.setattr(os, "open", fail(number))
        with pytest.raises(ImageProblem) as problem:
            ImageStore(str(root), reading=ImageReading(attempts=2)).read("a b.jpg")
        assert problem.value.status is Status.IMAGE_UNREADABLE
        assert len(tries) == attempts


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (PermissionDeniedError("403"), False),
        (GenericError("Server returned non-2xx status code: 400 Bad Request: ..."), False),
        (GenericError("Server returned non-2xx status code: 408 Request Timeout: ..."), True),
        (GenericError("Server returned non-2xx status code: 503 Slow Down: ..."), True),
        (GenericError("HTTP error: error sending request"), True),
        (FileNotFoundError("404"), False),
    ],
    ids=str,
)
def test_what_a_store_denies_is_an_answer_and_its_own_failures_may_pass(error, may_pass):
    assert is_failure(error) is may_pass


@pytest.mark.parametrize(
    ("location", "config"),
    [
        ("gs://anonymous@shop/x", {"bucket": "shop", "skip_signature": "true"}),
        ("gs://shop/x", {"bucket": "shop"}),
        (
            "abfss://shop@account.dfs.core.windows.net/x",
            {"container_name": "shop", "account_name": "account"},
        ),
        ("s3://shop/x", {"bucket": "shop", "endpoint": "http://127.0.0.1:1"}),
    ],
)
def test_a_location_names_the_bucket_of_its_store(location, config, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    scheme, authority, _ = parse_location(location)
    store = open_object_store(scheme, authority, ImageReading())
    assert config.items() <= store.config.items()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_without_proc_the_opened_file_counts_too(root, monkeypatch, is_replaced):
    def readlink(path):
        if is_replaced:
            (root / "other").write_bytes(b"other")
            (root / "other").replace(root / "a b.jpg")
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "readlink", readlink)
    store = ImageStore(str(root), reading=ImageReading(attempts=1))
    if not is_replaced:
        assert store.read("a b.jpg") == (root / "a b.jpg").read_bytes()
        return
    with pytest.raises(ImageProblem) as problem:
        store.read("a b.jpg")
    assert problem.value.status is Status.IMAGE_UNREADABLE


def test_a_region_that_aws_does_not_tell_is_the_environment_s(monkeypatch):
    def refuse(_):
        raise OSError("no route")

    monkeypatch.setattr(fs, "resolve_s3_region", refuse)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert open_object_store("s3", "shop", ImageReading()).config["region"] == "eu-west-1"


def test_stat_tells_the_size_and_the_time_of_a_file_on_a_disk(root):
    file = root / "a b.jpg"
    os.utime(file, (0, 1_000_000_000.25))
    modified_at = datetime(2001, 9, 9, 1, 46, 40, 250_000, UTC)
    found = ImageStore(str(root)).stat("a b.jpg")
    assert found == ImageStat(file.stat().st_size, None, modified_at)


def test_hadoops_way_to_write_a_local_path_is_one(root):
    store = ImageStore(str(root))
    (root / "one.bin").write_bytes(b"picture")
    assert store.read(f"file:{root}/one.bin") == b"picture"


def test_a_local_uri_as_hadoop_reads_it_is_a_path():
    for uri in ("file:/a%20b", "file:///a%20b", "FILE:///a%20b", "/a%20b"):
        assert local_path(uri) == "/a%20b"
    for other in ("file://host/a", "s3://file/a", "file", "a/file:/b"):
        assert local_path(other) == other


def test_a_lack_of_memory_while_reading_is_this_machine_s_and_not_the_picture_s(
    tmp_path, monkeypatch
):
    (tmp_path / "a.jpg").write_bytes(b"x")

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("enrich.images.store.read_local", fail)
    with pytest.raises(ImageProblem) as found:
        ImageStore(str(tmp_path)).read("a.jpg")
    assert found.value.status is Status.IMAGE_UNREADABLE


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
