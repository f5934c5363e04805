"""In an object store unchanged images are known by one listing, without a request for each."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pytest
from faulty_store import KEYS, FaultyStore, faulty_store
from moto.s3.models import s3_backends
from shop import FakeGate

from bench.fake_engine import FakeEngineSpec
from enrich.errors import ConfigError, ValidationFailed
from enrich.images.store import ImageStore
from enrich.spark.diff import append_image_states
from enrich.spark.refresh import Refresh
from enrich.spark.rules import Attempt
from enrich.spark.tables import now
from schemas.tables import Outcome

DAY = pd.Timestamp("2026-11-24").date()


@dataclass
class Bucket:
    """Images in a bucket, and the requests that it was sent, by kind."""

    store: FaultyStore
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self):
        self.store.fault = self._count

    def put(self, number, data):
        self.put_key(f"images/{number % 7}/{number}.jpg", data)

    def put_key(self, key, data):
        # Not by a request: there are thousands.
        moto: Any = s3_backends["123456789012"]["aws"]
        moto.put_object("shop", key, data)

    def _count(self, method, key, before):
        self.asked["list" if key == "/shop" else method] += 1


@pytest.fixture(scope="module")
def served(spark):
    """A store that this process and Spark's workers know by their environment."""
    with faulty_store() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": store.endpoint}).items():
            patch.setenv(name, value)
            patch.setitem(spark.sparkContext.environment, name, value)
        yield store


@pytest.fixture
def bucket(served):
    yield Bucket(served)
    served.heal()
    moto: Any = s3_backends["123456789012"]["aws"]
    moto.buckets["shop"].keys.clear()


def look(shop, bucket, **config):
    """Return the diff of the shop, and what it asked of the bucket."""
    inputs = shop.prepare(config=config)
    inputs = replace(inputs, store=ImageStore("s3://shop/images"))
    inputs.tables.create_missing()
    bucket.asked.clear()
    diff = inputs.diff([], Attempt(DAY, now(), "run"))
    asked = Counter(bucket.asked)
    if diff.images_compared:
        append_image_states(inputs.tables, diff.rows, "run")
    return diff, asked


def write_products(shop, count):
    rows = [(f"p{n}", "shirt", None, f"{n % 7}/{n}.jpg") for n in range(count)]
    columns = ["product_id", "title", "description", "image_path"]
    shop.write(pd.DataFrame(rows, columns=columns).astype("string"))


def contents(diff):
    rows = diff.rows.select("product_id", "content_hash").collect()
    return {row["product_id"]: row["content_hash"] for row in rows}


def test_of_many_images_the_changed_ones_alone_are_read(shop, bucket):
    count, changed = 1_200, 50
    for number in range(count):
        bucket.put(number, b"image %d" % number)
    write_products(shop, count)
    # The first look, without its thousands of requests.
    listed = ImageStore("s3://shop/images").list_root(None, None)
    looks = [
        {
            "path": key.removeprefix("images/"),
            "size": size,
            "etag": etag,
            "modified_at": pd.Timestamp(us, unit="us", tz="UTC").to_pydatetime(),
            "digest": hashlib.sha256(b"image %s" % key.split("/")[-1][:-4].encode()).hexdigest(),
            "run_id": "before",
            "looked_at": now(),
        }
        for key, size, etag, us in listed
    ]
    tables = shop.tables
    tables.create_missing()
    tables.append("images", tables.to_rows("images", looks), "before")
    before, asked = look(shop, bucket)
    assert asked["GET"] == asked["HEAD"] == 0 and asked["list"] <= 10
    was = contents(before)
    for number in range(changed):
        # The first ten are of equal size.
        bucket.put(number, b"IMAGE %d" % number if number < 10 else b"another image")

    after, asked = look(shop, bucket)

    assert asked["HEAD"] == 0 and asked["list"] <= 10 and asked["GET"] == changed
    is_now = contents(after)
    assert {one for one in was if was[one] != is_now[one]} == {f"p{n}" for n in range(changed)}


def test_a_copied_bucket_is_read_and_changes_nothing(shop, bucket):
    write_products(shop, 4)
    for number in range(3):
        bucket.put(number, b"image %d" % number)
    first, asked = look(shop, bucket)
    assert asked["GET"] == 3 and asked["HEAD"] == 0  # the fourth is not there
    was = contents(first)
    moto: Any = s3_backends["123456789012"]["aws"]
    for one in moto.buckets["shop"].keys.values():
        one.last_modified = one.last_modified.replace(year=2020)

    second, asked = look(shop, bucket)

    assert asked["GET"] == 3 and was == contents(second)
    assert look(shop, bucket)[1]["GET"] == 0


def test_of_a_product_table_with_a_feed_changed_images_are_found(shop, bucket):
    count = 40
    write_products(shop, count)
    products = shop.spark.read.parquet(str(shop.file))
    shop.file = shop.folder / "feed"
    feed = {"delta.enableChangeDataFeed": "true"}
    products.write.format("delta").options(**feed).save(str(shop.file))
    for number in range(count - 1):
        bucket.put(number, b"image %d" % number)

    def run(failures=()):
        bucket.asked.clear()
        spec = FakeEngineSpec(opens_images=True, image_root="s3://shop/images")
        inputs = replace(shop.prepare(spec), store=ImageStore("s3://shop/images"))
        return Refresh(inputs, FakeGate(failures=failures)).run()

    assert run().counts["published"] == count
    bucket.put(3, b"IMAGE 3")
    # It was missing, and so was asked for; nobody has looked at it before.
    bucket.put(count - 1, b"image")

    second = run()

    assert (second.diff, second.counts["read"], second.counts["published"]) == ("changes", 40, 2)
    assert bucket.asked["list"] == 1 and bucket.asked["HEAD"] == 0
    # Seen by a run that publishes nothing, it is still news.
    bucket.put(5, b"IMAGE 5")
    with pytest.raises(ValidationFailed):
        run(failures=("no",))
    third = run()
    assert (third.diff, third.counts["published"], third.counts["encoded"]) == ("changes", 1, 0)


@pytest.mark.parametrize("prefix", ["", "images/", "s3://shop/images/"])
def test_an_inventory_is_taken_instead_and_what_it_lacks_is_asked_for(shop, bucket, prefix):
    write_products(shop, 3)
    for number in range(3):
        bucket.put(number, b"image %d" % number)
    rows = [(f"{prefix}{n}/{n}.jpg", 7, f"tag {n}", "2026-11-20 10:00:00") for n in range(2)]
    inventory = shop.folder / "inventory.csv"
    pd.DataFrame(rows, columns=["path", "size", "etag", "modified"]).to_csv(inventory, index=False)
    config = {"image_inventory": str(inventory)}
    assert look(shop, bucket, **config)[1] == {"GET": 3, "HEAD": 1}

    diff, asked = look(shop, bucket, **config)

    assert asked == {"HEAD": 1} and diff.count(Outcome.NEW) == 3


def test_a_store_that_refuses_to_list_is_named_with_the_setting(shop, bucket):
    bucket.store.fault = lambda method, key, before: "403"
    with pytest.raises(ConfigError, match=r"cannot be listed.*image_identity: stat"):
        list(ImageStore("s3://shop/images").list_root(None, None))


def test_an_object_that_cannot_be_listed_is_named(bucket):
    bucket.put_key("images/x//b.jpg", b"image")
    with pytest.raises(ConfigError, match=r"x//b\.jpg.*Rename or remove this object"):
        list(ImageStore("s3://shop/images").list_root(None, None))


def test_parts_of_a_listing_are_the_whole(bucket):
    for number in range(30):
        bucket.put(number, b"image")
    store, middle = ImageStore("s3://shop/images"), "images/3/17.jpg"
    whole = [key for key, *_ in store.list_root(None, None)]
    parts = [*store.list_root(None, middle), *store.list_root(middle, None)]
    assert len(whole) == 30 and [key for key, *_ in parts] == whole


@pytest.mark.parametrize("given", [{"image_identity": "listing"}, {"image_inventory": "seen"}])
def test_a_disk_is_not_listed(shop, given):
    with pytest.raises(ConfigError, match="are for object stores"):
        shop.refresh(config=given)
