"""An object store that is slow, fails or says nothing costs a row its image, never the run."""

import hashlib
import io
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from faulty_store import KEYS, faulty_store
from PIL import Image

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.engine.spec import build_spec
from enrich.errors import ConfigError
from enrich.images import store as retries
from enrich.images.settings import ImageProblem, ImageReading
from enrich.images.store import ImageStore, _breaker_of
from enrich.records import Modalities, Product, Status

DATA = os.urandom(3_000)
ROOT = "s3://shop/images"


@pytest.fixture(scope="module")
def served():
    with pytest.MonkeyPatch.context() as environment:
        for name, value in KEYS.items():
            environment.setenv(name, value)
        with faulty_store() as store:
            environment.setenv("AWS_ENDPOINT_URL", store.endpoint)
            store.put("images/a b.jpg", DATA)
            yield store


@pytest.fixture
def store(served):
    """The server without a fault; this process has learnt nothing about it yet."""
    _breaker_of.cache_clear()
    served.asked.clear()
    yield served
    served.heal()


def read(image_path="a b.jpg", **reading):
    return ImageStore(ROOT, reading=ImageReading(**reading)).read(image_path)


def problem(image_path="a b.jpg", **reading):
    with pytest.raises(ImageProblem) as found:
        read(image_path, **reading)
    return found.value


@pytest.mark.parametrize(
    "image_path",
    ["a b.jpg", "s3://shop/images/a b.jpg", "s3a://shop/images/a%20b.jpg", "./a b.jpg"],
)
def test_objects_are_read_from_the_endpoint_of_the_environment(store, image_path):
    assert read(image_path) == DATA


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_an_object_is_read_as_it_is_whatever_it_is_called(store, suffix):
    store.put(f"images/0.{suffix}", DATA)
    assert read(f"0.{suffix}") == DATA


def test_stat_of_an_object_is_asked_for_without_its_bytes(store):
    shop = ImageStore(ROOT)
    found = shop.stat("a b.jpg")
    assert found.size == 3_000
    assert store.asked == {"images/a b.jpg": 1}
    assert found.etag == f'"{hashlib.md5(DATA).hexdigest()}"'
    assert found.modified_at is not None and found.modified_at.tzinfo is not None
    assert shop.stat("a b.jpg") == found
    with pytest.raises(ImageProblem) as missing:
        shop.stat("nowhere.jpg")
    assert missing.value.status is Status.IMAGE_MISSING


def test_an_object_that_is_not_there_is_missing_and_asked_for_once(store):
    found = problem("nowhere.jpg")
    assert found.status is Status.IMAGE_MISSING
    assert store.asked["images/nowhere.jpg"] == 1


@pytest.mark.parametrize("code", ["403", "400", "401"])
def test_a_denied_object_is_unreadable_and_asked_for_once(store, code):
    store.fault = lambda method, key, before: code
    assert problem().status is Status.IMAGE_UNREADABLE
    assert store.asked["images/a b.jpg"] == 1


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "cut", "slow 0.5"])
def test_an_error_that_passes_costs_nothing_but_time(store, fault):
    store.fault = lambda method, key, before: fault if before < 2 else None
    assert read(timeout_s=20) == DATA
    assert store.asked["images/a b.jpg"] == (1 if fault.startswith("slow") else 3)


@pytest.mark.parametrize("fault", ["500", "503", "reset", "cut"])
def test_an_error_that_stays_makes_an_image_unreadable(store, fault):
    store.fault = lambda method, key, before: fault
    found = problem(attempts=2, timeout_s=10)
    assert found.status is Status.IMAGE_UNREADABLE
    assert str(found)
    assert store.asked["images/a b.jpg"] == 2


@pytest.mark.parametrize("fault", ["silent", "drip"])
def test_a_read_has_a_total_limit_whatever_the_server_does(store, fault):
    store.fault = lambda method, key, before: fault
    begin = time.monotonic()
    found = problem(attempts=2, timeout_s=2)
    assert time.monotonic() - begin < 4
    assert found.status is Status.IMAGE_UNREADABLE


def test_a_server_that_takes_its_time_is_waited_for(store):
    store.fault = lambda method, key, before: "slow 4" if before == 0 else None
    assert read(attempts=2, timeout_s=16) == DATA


def test_a_store_that_is_down_is_given_up_and_taken_up_again(store, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    monkeypatch.setattr(retries, "time", clock)
    monkeypatch.setattr(retries, "LONGEST_SLEEP_S", 0.0)
    store.fault = lambda method, key, before: "503"
    for _ in range(10):
        problem(attempts=1)
    asked = store.asked.total()
    for _ in range(100):
        assert "not asked" in str(problem(attempts=1))
    assert store.asked.total() == asked

    store.fault = lambda method, key, before: None
    clock.monotonic = lambda: 30.0
    assert [read(attempts=1) for _ in range(20)] == [DATA] * 20


def test_an_answer_that_is_no_image_does_not_make_a_store_count_as_down(store):
    for number in range(30):
        assert problem(f"{number}.jpg").status is Status.IMAGE_MISSING
    assert read() == DATA


def test_a_read_leaves_no_thread_behind_and_keeps_no_process_from_its_end(store):
    store.fault = lambda method, key, before: "drip"
    program = textwrap.dedent("""
        import sys, threading
        from enrich.images.settings import ImageProblem, ImageReading
        from enrich.images.store import ImageStore

        try:
            reading = ImageReading(attempts=1, timeout_s=1)
            ImageStore("s3://shop/images", reading=reading).read("a b.jpg")
        except ImageProblem as problem:
            print(problem.status, threading.active_count())
        sys.exit(3)
    """)
    begin = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (3, "image_unreadable 1\n"), ended.stderr
    assert time.monotonic() - begin < 20


def test_a_profile_of_the_cloud_s_own_tools_is_enough(store, tmp_path, monkeypatch):
    profile = "[shop]\naws_access_key_id = test\naws_secret_access_key = test\n"
    (tmp_path / "credentials").write_text(profile)
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "shop")
    # Another recipe, so that a client of its own is made.
    assert read(timeout_s=7) == DATA
    monkeypatch.setattr("enrich.images.clients.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'shop'.*boto3"):
        ImageStore(ROOT)


def test_endpoint_with_credentials_or_of_the_machines_metadata_is_refused(store, monkeypatch):
    for endpoint in ("http://me:hush@127.0.0.1:1", "http://169.254.169.254", "http://2852039166/"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(ConfigError) as error:
            ImageStore(ROOT)
        assert "hush" not in str(error.value)


def test_products_whose_images_a_store_loses_are_answered_from_their_texts_in_order(store):
    faults = {1: "503", 2: "reset", 3: "403", 4: "cut"}
    for number in range(60):
        store.put(f"images/{number}.jpg", _jpeg(number))

    def fault(method, key, before):
        return faults.get(int(Path(key).stem) % 6) if key[7:8].isdigit() else None

    store.fault = fault
    # Two in six are answered, so that the store never counts as down.
    config = JobConfig(image_reading=ImageReading(attempts=2, timeout_s=10), read_threads=2)
    engine = build_spec(config, read_manifest(BUNDLED), ROOT).build(torch.device("cpu"))
    products = [
        Product(f"p{number}", f"shirt {number}", None, f"{number}.jpg") for number in range(60)
    ]
    answers = list(engine.enrich(products))
    assert [answer.product_id for answer in answers] == [one.product_id for one in products]
    for number, answer in enumerate(answers):
        lost = number % 6 in faults
        assert answer.status is (Status.IMAGE_UNREADABLE if lost else Status.OK), answer
        assert answer.modalities is (Modalities.TEXT if lost else Modalities.IMAGE_AND_TEXT)
        assert len(answer.predictions) == 3


def _jpeg(seed):
    encoded = io.BytesIO()
    Image.new("RGB", (64, 64), (4 * seed, 30, 200 - 3 * seed)).save(encoded, "JPEG")
    return encoded.getvalue()
