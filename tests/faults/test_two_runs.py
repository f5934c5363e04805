"""Two runs at once on one database: each commit of one happens while the other's is under way."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pandas as pd
import pytest
from delta.tables import DeltaTable
from fake_shop import DAY, Shop, products
from long_tests import in_full
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from enrich.errors import RunInProgress
from enrich.spark.records import RunSummary
from enrich.spark.tables.output_tables import OutputTables

pytestmark = pytest.mark.spark

PATIENCE_S = 300


@dataclass
class Race:
    """Holds the late thread's commits open until the early one has made the same commit."""

    folder: Path
    late: set[int] = field(default_factory=set)
    merges: Counter[str] = field(default_factory=Counter)
    # Set once the late thread is about to stage; the early one waits for it where that matters.
    is_on: threading.Event = field(default_factory=threading.Event)
    early_waits: bool = False

    def is_late(self) -> bool:
        return threading.get_ident() in self.late

    def hold(self, rows: DataFrame, what: str) -> DataFrame:
        """Returns rows that are only there once the early thread has committed."""
        passed = str(self.folder / what)

        @F.udf("boolean")
        def waits(_: Any) -> bool:
            end = monotonic() + PATIENCE_S
            while not Path(passed).exists():
                if monotonic() > end:
                    raise TimeoutError(f"nobody else came to {passed}")
                sleep(0.01)
            return True

        # One task: two would take both of the session's slots from the early thread.
        return rows.coalesce(1).where(waits(F.lit(1)))

    def has_passed(self, what: str) -> None:
        (self.folder / what).touch()


@pytest.fixture
def race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Race:
    folder = tmp_path / "passed"
    folder.mkdir()
    race = Race(folder)
    merge = DeltaTable.merge

    def held_merge(self: DeltaTable, source: DataFrame, condition: Any) -> Any:
        race.merges["older" if race.is_late() else "newer"] += 1
        return merge(self, race.hold(source, "publish") if race.is_late() else source, condition)

    monkeypatch.setattr(DeltaTable, "merge", held_merge)

    def wrap(name: str, describe: Callable[..., str], rows_at: int | None) -> None:
        method = getattr(OutputTables, name)

        def raced(*arguments: Any, **named: Any) -> Any:
            what = describe(*arguments)
            if race.is_late():
                race.is_on.set()
            elif race.early_waits and what == "staged":
                assert race.is_on.wait(PATIENCE_S)
            if race.is_late() and rows_at is not None:
                held = race.hold(arguments[rows_at], what)
                arguments = (*arguments[:rows_at], held, *arguments[rows_at + 1 :])
            answer = method(*arguments, **named)
            if not race.is_late():
                race.has_passed(what)
            return answer

        monkeypatch.setattr(OutputTables, name, raced)

    wrap("append_chunk", lambda *_: "staged", 1)
    wrap("replace_run", lambda _, table, *__: table, 2)
    wrap("publish", lambda *_: "publish", None)
    return race


def run_late(race: Race, run: Callable[[], RunSummary]) -> tuple[threading.Thread, list[Any]]:
    """Starts a run whose commits wait for the other run's; the list gets what becomes of it."""
    ended: list[Any] = []

    def work() -> None:
        race.late.add(threading.get_ident())
        try:
            ended.append(run())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ended


def test_two_publications_at_once_are_both_made(
    shop: Shop, spark: SparkSession, race: Race
) -> None:
    shop.tables.create_missing()
    other = Shop(spark.newSession(), shop.folder, shop.database)

    late, ended = run_late(race, lambda: publish(other, ["p0", "p1"], "older", DAY))
    publish(shop, ["p1", "p2"], "newer", date(2026, 11, 25))
    late.join()

    assert ended == [None]
    assert race.merges == {"newer": 1, "older": 2}
    rows = shop.table("product_attributes").set_index("product_id")
    assert rows["run_id"].to_dict() == {"p0": "older", "p1": "newer", "p2": "newer"}


def publish(shop: Shop, products: list[str], run_id: str, run_date: date) -> None:
    said = {
        "color": "red",
        "modalities": "text",
        "status": "ok",
        "content_hash": run_id,
        "model_version": "fake-1",
        "run_id": run_id,
        "run_date": run_date,
        "enriched_at": datetime.combine(run_date, time()),
    }
    schema = shop.tables.read("product_attributes").schema
    rows = [tuple((said | {"product_id": p}).get(name) for name in schema.names) for p in products]
    frame = shop.spark.createDataFrame(rows, schema)
    rows = frame.withColumn("is_carried", F.lit(None).cast("boolean"))
    shop.tables.publish(lambda: rows, run_id, full_refresh=False)


@in_full
def test_two_different_runs_at_once_both_publish_and_the_newer_answers_stay(
    shop: Shop, spark: SparkSession, race: Race
) -> None:
    shop.write(products(4))
    shop.refresh(run_id="base", run_date=date(2026, 11, 22))
    for passed in race.folder.iterdir():
        passed.unlink()
    older, newer = (
        Shop(spark.newSession(), shop.folder / d, shop.database) for d in ("old", "new")
    )
    table = pd.concat([products(8), products(1).assign(product_id=None)], ignore_index=True)
    table = table.astype("string")
    table.loc[:5, "title"] += ", old words"
    older.folder.mkdir()
    older.write(table)
    table.loc[:5, "title"] += ", new words"
    newer.folder.mkdir()
    newer.write(table.drop(index=7))

    late, ended = run_late(race, lambda: older.refresh(run_id="older", run_date=DAY))
    first = newer.refresh(run_id="newer", run_date=date(2026, 11, 25))
    late.join()

    assert not isinstance(ended[0], Exception), ended[0]
    assert (first.outcome, ended[0].outcome) == ("published", "published")
    rows = shop.table("product_attributes")
    assert sorted(rows["product_id"]) == [f"p{n}" for n in range(8)]
    assert rows.set_index("product_id")["run_id"].to_dict() == {
        **{f"p{n}": "newer" for n in range(7)},
        "p7": "older",
    }
    staged = shop.table("staged_attributes")
    assert staged.groupby("run_id").size().to_dict() == {"base": 4, "older": 8, "newer": 7}
    assert not staged.duplicated(["run_id", "product_id"]).any()
    ledger = shop.table("enrichment_runs")
    assert sorted(ledger["run_id"]) == ["base", "newer", "older"]
    assert set(shop.table("label_quality")["run_id"]) == {"base", "newer", "older"}


@in_full
def test_the_same_run_twice_at_once_stops_one_of_them_and_says_why(
    shop: Shop, spark: SparkSession, race: Race
) -> None:
    twin = Shop(spark.newSession(), shop.folder, shop.database)
    shop.tables.create_missing()

    # Else it may be done before the other begins, which then goes on from what is staged.
    race.early_waits = True
    late, ended = run_late(race, lambda: twin.refresh(run_id="twice"))
    first = shop.refresh(run_id="twice")
    late.join()

    assert first.outcome == "published"
    assert isinstance(ended[0], RunInProgress), ended[0]
    assert "another process is staging run 'twice' at the same time" in str(ended[0])
    assert len(shop.table("product_attributes")) == len(shop.table("staged_attributes")) == 6
    ledger = shop.table("enrichment_runs")
    assert ledger["outcome"].tolist() == ["published"]
    assert ledger["published"].tolist() == [6]
