"""Two runs, and a run beside a person or maintenance, in chosen orders of their commits."""

from collections.abc import Callable
from datetime import date
from itertools import combinations
from typing import Any

import pytest
from cases import is_full
from prepared_shop import blocked, published
from schedule import Schedule, install
from shop import DAY, Shop, products

from enrich.errors import ConfigError, TableContended

ANOTHER_DAY = date(2026, 11, 25)
STEPS = ("encodings", "product_attributes")
DECIDED_BEFORE = ("encodings", "candidates", "product_attributes")[slice(None if is_full() else 1)]


# Of the older run's two commits among four; in CI one run comes in the middle of the other.
PLACES = [*combinations(range(4), 2)] if is_full() else [(0, 3), (1, 2)]


def orders():
    """Yield orders of the two commits of each of two runs that can meet."""
    for places in PLACES:
        steps = {"older": iter(STEPS), "newer": iter(STEPS)}
        actors = ["older" if place in places else "newer" for place in range(4)]
        yield [(actor, next(steps[actor])) for actor in actors]


def beside(shop):
    """Return the same tables in a session of its own, as another process has one."""
    other = Shop(shop.spark.newSession(), shop.folder, shop.database)
    other.file = shop.file
    return other


@pytest.fixture
def two(shop, monkeypatch):
    """Two processes on the same tables, whose commits follow a schedule."""
    install(monkeypatch)
    return shop, beside(shop)


@pytest.mark.parametrize("order", orders(), ids=lambda order: "-".join(a[0] for a, _ in order))
def test_two_runs_end_alike_in_any_order_of_their_commits(two, order):
    older, newer = two
    newer.file = older.folder / "newer" / older.file.name
    newer.file.parent.mkdir()
    newer.write(products(mark=" of the newer day"))
    ended = Schedule(order).run(
        {
            "older": lambda: older.refresh(run_date=DAY),
            "newer": lambda: newer.refresh(run_date=ANOTHER_DAY),
        }
    )
    assert [type(one).__name__ for one in ended.values()] == ["RunSummary"] * 2, ended
    rows = older.table("product_attributes")
    assert sorted(rows["product_id"]) == [f"p{n}" for n in range(6)]
    assert set(rows["run_id"]) == {newer.summary.run_id}
    assert newer.summary.counts["published"] == 6
    withheld = older.summary.counts["withheld"]
    assert older.summary.counts["published"] + withheld == 6
    assert older.refresh(run_date=DAY).counts["published"] == 0


def publish_wrong(shop):
    """Publish six products, and then wrong ones."""
    published(shop)
    shop.write(products(mark=" wrong"))
    shop.refresh()


def wait_for_a_decision(shop):
    """Publish six products, and let the gate block others."""
    published(shop)
    shop.write(products(mark=" waiting"))
    blocked(shop)


@pytest.mark.parametrize("step", DECIDED_BEFORE)
@pytest.mark.parametrize("act", ["approve", "discard", "roll_back", "maintain"])
def test_a_decision_in_the_middle_of_a_run_is_kept(open_shop, monkeypatch, step, act):
    shop = open_shop(publish_wrong if act == "roll_back" else wait_for_a_decision)
    decided = shop.summary.run_id
    shop.write(products(mark=" of the run in the middle"))
    install(monkeypatch)
    other = beside(shop)
    acts: dict[str, Callable[[], Any]] = {
        "approve": lambda: other.approve(decided, "it is right"),
        "discard": lambda: other.discard(decided),
        "roll_back": lambda: other.roll_back(decided),
        "maintain": other.maintain,
    }

    def decide():
        # A step of its own before the run's: whatever it commits comes first.
        with schedule.turn_of(("person", "decision")):
            return acts[act]()

    schedule = Schedule([("person", "decision"), ("run", step)])
    ended = schedule.run({"person": decide, "run": lambda: shop.refresh(run_date=ANOTHER_DAY)})
    allowed = (ConfigError, TableContended)
    assert not isinstance(ended["run"], Exception), ended
    assert not isinstance(ended["person"], Exception) or isinstance(ended["person"], allowed)
    # Whatever came first, the next run ends with the table of today.
    shop.refresh(run_date=ANOTHER_DAY)
    rows = shop.table("product_attributes")
    assert sorted(rows["product_id"]) == [f"p{n}" for n in range(6)]
    today = shop.sql(
        f"SELECT DISTINCT content_hash FROM shop.candidates WHERE run_id = '{ended['run'].run_id}'"
    )
    assert set(rows["content_hash"]) == set(today["content_hash"])
    if not isinstance(ended["person"], Exception) and act in STATES:
        assert shop.state(decided) in STATES[act]


STATES = {"approve": ("published",), "discard": ("discarded",), "roll_back": ("rolled_back",)}
