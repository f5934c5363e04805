"""A picture is read again where its size, etag or time differ from the last look."""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from image_host import image_host, reach_this_machine

from enrich.config import ImageIdentity
from enrich.images.store import ImageStore
from enrich.spark.diff import ImageState, inspect_all, inspect_image

OLD = "Sun, 29 Nov 2026 12:00:00 GMT"
NEVER = (None, None, None, None)


@pytest.fixture
def host(monkeypatch):
    reach_this_machine(monkeypatch)
    with image_host() as served:
        yield served


def look(host, path, last=None, by=ImageIdentity.STAT):
    store = ImageStore("/nowhere", hosts=(f"cdn.example.com:{host.port}",))
    seen = NEVER if last is None else (last.size, last.etag, last.modified_us, last.digest)
    return inspect_image(store, by, path, *seen)


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("headers", [{"ETag": "1"}, {"Last_Modified": OLD}])
def test_a_picture_of_the_same_etag_or_time_is_not_read_again(host, headers):
    url = host.sends("/a.jpg", b"red", **headers)
    first = look(host, url)
    second = look(host, url, first)
    assert first.digest == second.digest == digest(b"red")
    assert (first.was_read, second.was_read) == (True, False)
    assert host.asked["GET /a.jpg"] == 1


def test_a_picture_of_another_etag_is_read(host):
    first = look(host, host.sends("/a.jpg", b"red", ETag="1"))
    assert look(host, host.sends("/a.jpg", b"new", ETag="2"), first).digest == digest(b"new")


@pytest.mark.parametrize("headers", [{}, {"Last_Modified": "never"}])
def test_a_picture_of_which_a_host_tells_nothing_is_read_each_time(host, headers):
    first = look(host, host.sends("/a.jpg", b"red", **headers))
    assert look(host, host.sends("/a.jpg", b"new", **headers), first).digest == digest(b"new")


def test_by_content_a_picture_is_read_each_time(host):
    url = host.sends("/a.jpg", b"red", ETag="1")
    first = look(host, url, by=ImageIdentity.CONTENT)
    assert look(host, url, first, ImageIdentity.CONTENT).was_read
    assert host.asked["HEAD /a.jpg"] == 0 and host.asked["GET /a.jpg"] == 2


def test_a_url_that_is_signed_for_reading_alone_is_read(host):
    url = host.sends("/a.jpg?signature=hush", b"red")
    send = host.answers["/a.jpg?signature=hush"]
    host.answers["/a.jpg?signature=hush"] = lambda request: (
        send(request) if request.command == "GET" else request.send_error(403)
    )
    assert look(host, url).digest == digest(b"red")


def test_a_picture_that_comes_back_goes_before_the_next_of_its_list(host):
    second = host.sends("/b.jpg", b"back", ETag="1")
    paths = json.dumps([host.url("/a.jpg"), second])
    without = look(host, paths)
    assert without.digest == digest(b"back")
    host.sends("/a.jpg", b"front", ETag="1")
    assert look(host, paths, without).digest == digest(b"front")


def test_a_local_picture_that_was_just_written_is_read_again(tmp_path):
    store, file = ImageStore(str(tmp_path)), tmp_path / "a.jpg"
    file.write_bytes(b"red")
    assert inspect_image(store, ImageIdentity.STAT, "a.jpg", *NEVER).size is None
    os.utime(file, (1e9, 1e9))
    assert inspect_image(store, ImageIdentity.STAT, "a.jpg", *NEVER).size == 3


def test_a_host_that_does_not_answer_leaves_the_last_bytes(host):
    url = host.sends("/a.jpg", b"red", ETag="1")
    first = look(host, url)
    host.answers["/a.jpg"] = lambda request: request.send_error(500)
    second = look(host, url, first)
    assert (second.digest, second.is_out_of_reach) == (digest(b"red"), True)
    assert look(host, url) == ImageState("image_unreadable", is_out_of_reach=True)


def test_a_picture_that_is_gone_is_missing_however_it_looked(host):
    first = look(host, host.sends("/a.jpg", b"red", ETag="1"))
    host.answers["/a.jpg"] = lambda request: request.send_error(404)
    assert look(host, host.url("/a.jpg"), first) == ImageState("image_missing")


@pytest.mark.parametrize("is_slow", [False, True])
def test_states_keep_their_order_however_long_they_take(is_slow):
    def inspect(row):
        time.sleep(0.002 if is_slow and row < 30 else 0)
        return ImageState(str(row))

    with ThreadPoolExecutor(8) as pool:
        found = list(inspect_all(pool, inspect, iter(range(2_500))))
    assert [one.digest for one in found] == [*map(str, range(2_500))]
