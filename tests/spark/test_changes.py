"""A diff of changes finds what a diff of all products finds."""

import os
from random import Random
from shutil import rmtree
from typing import Any

import pytest
from cases import only_in_full
from shop import FakeGate, Shop

from bench.fake_engine import FakeEngineSpec
from enrich.config import Follow
from enrich.errors import ValidationFailed
from enrich.spark import follow as follow_module
from enrich.spark.follow import follow
from enrich.spark.refresh import Refresh
from enrich.spark.runs import RunSummary, read_runs
from schemas.tables import Outcome, State

SEQUENCES = int(os.environ.get("FEED_SEQUENCES", "1"))
STEPS = int(os.environ.get("FEED_STEPS", "2"))
# The product table names no images: changes of them would have to be asked for one by one.
CONFIG: dict[str, Any] = {
    "columns": {"image_path": None, "category": "category"},
    "missing_products": "delete",
    "max_deleted_share": 1,
}
_WORDS = ("red shirt", "blue dress", "bag", "crash", "")


class FeedShop(Shop):
    """A shop whose product table is a Delta table with a change feed."""

    def create(self, count):
        self.spark.range(count).selectExpr(
            "concat('p', id) AS product_id",
            "concat('shirt number ', id) AS title",
            "CAST(NULL AS STRING) AS description",
            "'men' AS category",
            "CAST(NULL AS STRING) AS image",
        ).write.format("delta").option("delta.enableChangeDataFeed", "true").save(str(self.file))

    def run(self, statement):
        """Change the product table, which is called `products` in the statement."""
        self.spark.sql(statement.replace("products", f"delta.`{self.file}`"))

    def diff_both_ways(self, spec=None, **config):
        """Return the counts of a diff, and since which run it compared changes.

        The same outcomes are found both ways, but of what is unchanged.
        """
        inputs = self.prepare(spec, CONFIG | config)
        runs = read_runs(self.tables)
        own = inputs.make_header("zzz")
        base = inputs.choose_base(own, runs)
        ways = [inputs.diff(runs, own.attempt, one) for one in (base, None)]
        found = [
            sorted(
                map(
                    tuple,
                    way.rows.where("outcome != 'unchanged'")
                    .select("product_id", "content_hash", "outcome", "replaces", "title")
                    .collect(),
                ),
                key=repr,
            )
            for way in ways
        ]
        for way in ways:
            way.rows.unpersist()
        assert found[0] == found[1]
        assert ways[0].counts == ways[1].counts
        assert (ways[0].not_compared > 0) == (base is not None)
        return {str(o): n for o, n in ways[0].counts.items() if n}, base


@pytest.fixture(params=range(SEQUENCES))
def seed(request):
    return int(request.param)


def publish_feed(feed):
    """Publish a product table of 200 with a change feed."""
    feed.file = feed.folder / "products"
    feed.create(200)
    feed.refresh(config=CONFIG)


@pytest.fixture
def feed(open_shop):
    return open_shop(publish_feed, FeedShop)


def test_changes_of_every_kind_are_found(feed):
    first = feed.summary
    assert (first.diff, first.counts["published"]) == ("full", 200)
    feed.run(
        "INSERT INTO products VALUES ('new', 'bag', NULL, 'men', NULL), (NULL, 'a', '', '', '')"
    )
    feed.run("INSERT INTO products VALUES ('p1', 'another', NULL, NULL, NULL)")
    feed.run("UPDATE products SET title = 'blue' WHERE product_id = 'p2'")
    feed.run("UPDATE products SET category = 'women' WHERE product_id = 'p3'")
    feed.run("DELETE FROM products WHERE product_id = 'p4'")
    feed.correct("p5", "color", "red")

    counts, base = feed.diff_both_ways()
    assert base is not None and base.run_id == first.run_id
    assert counts == {
        **{"new": 1, "changed": 2, "revised": 2, "missing": 1, "null_id": 1, "duplicate_id": 1},
        "unchanged": 195,
    }
    second = feed.refresh(config=CONFIG)
    assert (second.diff, second.counts["read"]) == ("changes", 202)
    assert (second.counts["published"], second.counts["deleted"]) == (5, 1)
    assert second.counts["unchanged"] == 195


@only_in_full
def test_random_changes_are_found(feed, seed):
    """After each night's changes a run of changes has the outcomes of a run of all products."""
    draw = Random(seed)
    published, compared = [feed.summary.run_id], 0
    specs = [FakeEngineSpec(), FakeEngineSpec(model_version="other-p90")]
    for _ in range(STEPS):
        spec = specs[draw.random() < 0.2]
        for _ in range(draw.randint(1, 4)):
            change(feed, draw, published)
        _, base = feed.diff_both_ways(spec)
        compared += base is not None
        if draw.random() < 0.8:
            done = feed.refresh(spec=spec, config=CONFIG)
            published += [done.run_id] * (done.outcome == State.PUBLISHED)
    assert compared


def change(feed, draw, published):
    """Change something that a diff depends on."""
    kind = draw.choice(("insert", "insert", "update", "update", "delete", "correct", "undo"))
    one, text = f"p{draw.randrange(210)}", draw.choice(_WORDS)
    if kind == "insert":
        # Perhaps an id that is there already, or none.
        some = draw.choice((one, one, " "))
        feed.run(f"INSERT INTO products VALUES ('{some}', '{text}', NULL, 'men', NULL)")
    elif kind == "update":
        is_some = f"hash(product_id) % 50 = {draw.randrange(50)}"
        feed.run(f"UPDATE products SET title = '{text}' WHERE {is_some}")
    elif kind == "delete":
        feed.run(f"DELETE FROM products WHERE product_id = '{one}'")
    elif kind == "correct":
        if draw.random() < 0.3:
            feed.spark.sql(f"DELETE FROM {feed.database}.attribute_corrections")
        feed.correct(one, "color", draw.choice(("red", "blue", None)))
    elif published and draw.random() < 0.5:
        feed.roll_back(published.pop())


def test_all_products_are_compared_where_the_feed_does_not_tell(feed):
    def choose(**config):
        inputs = feed.prepare(config=CONFIG | config)
        own, runs = inputs.make_header("zzz"), read_runs(feed.tables)
        return inputs, own, runs, inputs.choose_base(own, runs)

    def is_compared_since(**config):
        return choose(**config)[-1] is not None

    assert is_compared_since()
    assert not is_compared_since(full_diff_days=0)
    assert not is_compared_since(missing_products="keep")
    # Images that would have to be asked for one by one.
    assert not is_compared_since(columns={"category": "category", "image_path": "image"})
    # A gap in the feed.
    for is_on in ("false", "true"):
        feed.run(f"ALTER TABLE products SET TBLPROPERTIES (delta.enableChangeDataFeed = {is_on})")
        feed.run("UPDATE products SET title = 'blue' WHERE product_id = 'p2'")
    inputs, own, runs, base = choose()
    diff = inputs.diff(runs, own.attempt, base)
    assert (base is not None, diff.not_compared, diff.count(Outcome.CHANGED)) == (True, 0, 1)
    diff.rows.unpersist()
    # The published table was changed by hand.
    feed.spark.sql(f"DELETE FROM {feed.database}.product_attributes WHERE product_id = 'p1'")
    assert not is_compared_since()
    feed.refresh(config=CONFIG)
    assert is_compared_since()
    # Another table in place of the product table.
    rmtree(feed.file)
    feed.create(210)
    assert not is_compared_since()


@pytest.mark.parametrize("happens", ["a new column", "nothing"])
def test_following_goes_on(feed, monkeypatch, happens):
    outcomes = list[str]()
    monkeypatch.setattr(follow_module, "_WAKE_S", 1)
    if happens == "nothing":
        monkeypatch.setattr(follow_module, "_LONGEST_PAUSE_S", 2)

    class Enough(Exception):
        pass

    def run():
        inputs = feed.prepare(config=CONFIG)
        if happens == "a new column" and not outcomes:
            feed.run("ALTER TABLE products ADD COLUMN brand STRING")
            feed.run("INSERT INTO products VALUES ('new', 'bag', NULL, 'men', NULL, 'ours')")
        outcomes.append(Refresh(inputs, FakeGate()).run().outcome)
        if len(outcomes) == 2:
            raise Enough
        return inputs.source

    with pytest.raises(Enough):
        follow(run, Follow.CONTINUOUS)
    assert outcomes[1] == ("published" if happens == "a new column" else "nothing_to_do")


def test_what_is_committed_is_published_until_a_batch_is_faulty(feed):
    done, judged = list[RunSummary](), list[int]()

    class CountingGate(FakeGate):
        def check_candidates(self, candidates, *others, **named):
            judged.append(candidates.select("product_id").distinct().count())
            return super().check_candidates(candidates, *others, **named)

    def run():
        inputs = feed.prepare(config=CONFIG, window=50)
        # A commit while this run is on is for the next one.
        feed.run(f"INSERT INTO products VALUES ('new{len(done)}', 'bag', NULL, 'men', NULL)")
        done.append(Refresh(inputs, CountingGate(failures=["no"] * (len(done) == 2))).run())
        return inputs.source

    with pytest.raises(ValidationFailed):
        follow(run, Follow.CONTINUOUS)

    assert [(one.diff, one.counts["published"]) for one in done] == [("changes", 0), ("changes", 1)]
    # Each alone, and few together with those before them.
    assert judged == [1, 50, 1, 50]
    published = feed.table("product_attributes")["product_id"]
    assert set(published[published.str.startswith("new")]) == {"new0"}
    assert feed.sql("SELECT count(*) AS n FROM shop.run_events WHERE state = 'blocked'").n[0] == 1
