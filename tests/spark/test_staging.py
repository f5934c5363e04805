"""What is staged stays staged: chunks, their order, resumption, and products that kill."""

import math
from datetime import timedelta
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from commit_hook import CommitHook
from delta.exceptions import ConcurrentAppendException
from fake_shop import DAY, FakeGate, Shop, fails, products
from faulty_engines import DeadlyEngineSpec, ForgetfulSpec
from long_tests import in_full
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.errors import RunInProgress, TableContended, ValidationFailed, WorkersDied
from enrich.spark.inference.chunks import cut_into_chunks
from enrich.spark.inference.poison import PoisonFinder
from enrich.spark.inference.staging import Stager, choose_tasks, gather_equal
from enrich.spark.plan import plan_refresh
from enrich.spark.records import StagedRows
from enrich.spark.rollback import roll_back
from enrich.spark.run import Refresh
from enrich.spark.settling import drop_staged_run
from enrich.spark.tables.output_tables import OutputTables
from schemas.verdict import Verdict

pytestmark = pytest.mark.spark

CHUNKS_OF_TEN = {"products_per_chunk": 10}


@pytest.mark.parametrize(
    ("products", "cores", "tasks"),
    [
        (0, 2, 1),
        (1, 2, 1),
        (65, 2, 2),
        (500, 8, 8),
        (4_000, 2, 2),
        (10_000, 2, 6),
        (100_000, 8, 56),
    ],
)
def test_inference_is_cut_into_whole_rounds_over_all_cores(
    products: int, cores: int, tasks: int
) -> None:
    config = JobConfig(batch_size=64, products_per_task=2_000)

    assert choose_tasks(products, config, cores) == tasks


def test_equal_products_come_to_the_classifier_one_after_the_other(spark: SparkSession) -> None:
    sizes = spark.range(300, numPartitions=3).select(
        F.col("id"), (F.col("id") % 50).cast("string").alias("content_hash")
    )
    gathered = gather_equal(sizes, 4)
    rows = gathered.withColumn("task", F.spark_partition_id()).collect()
    runs = [key for key, _ in groupby((row["task"], row["content_hash"]) for row in rows)]
    assert gathered.rdd.getNumPartitions() == 4
    assert len(runs) == 50


@in_full
def test_a_backlog_is_staged_in_chunks_of_one_commit_each(shop: Shop) -> None:
    shop.write(products(40))

    counts = shop.refresh(config=CHUNKS_OF_TEN).counts

    assert counts["published"] == 40
    sizes = shop.table("staged_attributes").groupby("chunk").size()
    assert len(sizes) == 4
    assert shop.version("staged_attributes") == 4


def cut_off(shop: Shop, dies_at: int = 2, **settings: Any) -> int:
    """Lets a run over a backlog die at its chunk of that number; returns how many it has staged."""
    append_chunk = OutputTables.append_chunk

    def dies(self: OutputTables, rows: object, run_id: str, chunk: int) -> None:
        if chunk == dies_at:
            raise KeyboardInterrupt
        append_chunk(self, rows, run_id, chunk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputTables, "append_chunk", dies)
        with pytest.raises(KeyboardInterrupt):
            shop.refresh(**{"config": CHUNKS_OF_TEN} | settings)
    staged = len(shop.table("staged_attributes"))
    assert 0 < staged < 40
    return staged


def asked(shop: Shop, run_id: str) -> int:
    """Returns how many products a run asked the classifier."""
    return int(shop.table("enrichment_runs").set_index("run_id").loc[run_id, "asked"])


@in_full
def test_run_that_died_after_two_chunks_asks_only_about_the_rest(shop: Shop) -> None:
    shop.write(products(40))
    cut_off(shop)
    before = shop.table("staged_attributes")

    again = shop.refresh(config=CHUNKS_OF_TEN)

    assert (again.counts["pending"], again.counts["published"]) == (40, 40)
    after = shop.table("staged_attributes")
    assert after["product_id"].is_unique
    assert len(after) == 40
    kept = after.merge(before, on=["product_id", "enriched_at"])
    assert len(kept) == len(before)


TOMORROW = {"run_date": DAY + timedelta(days=1)}


@in_full
def test_a_backlog_that_died_goes_on_on_another_day(shop: Shop) -> None:
    table = products(40).set_index("product_id", drop=False)
    shop.write(table)
    staged = cut_off(shop)
    table.loc[shop.table("staged_attributes")["product_id"][0], "title"] = "another shirt"
    shop.write(table)

    planned = plan_refresh(shop.prepare(config=CHUNKS_OF_TEN, **TOMORROW))
    run = shop.refresh(config=CHUNKS_OF_TEN, **TOMORROW)

    assert run.counts["published"] == 40
    assert asked(shop, run.run_id) == 40 - (staged - 1)
    assert planned.staged == staged - 1
    assert {"reuse", "inference"} <= run.seconds.keys()
    mine = shop.table("staged_attributes").query(f"run_id == '{run.run_id}'")
    assert (len(mine), mine["product_id"].nunique()) == (40, 40)
    assert set(mine["run_date"]) == set(TOMORROW.values())


@in_full
def test_a_product_that_several_runs_have_staged_is_staged_once(shop: Shop) -> None:
    shop.write(products(40))
    cut_off(shop, full_refresh=True)
    staged = shop.table("staged_attributes")
    other = shop.tables.read("staged_attributes").withColumn("run_id", F.lit("other"))
    shop.tables.append("staged_attributes", other)

    run = shop.refresh(config=CHUNKS_OF_TEN, **TOMORROW)

    assert (run.counts["published"], asked(shop, run.run_id)) == (40, 40 - len(staged))


@in_full
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"full_refresh": True}),
        ({}, {"model_version": "fake-2"}),
        ({}, {"config": {"products_per_chunk": 100}}),
    ],
    ids=["full refresh", "another model", "less than a chunk"],
)
def test_answers_of_a_run_that_was_cut_off_are_not_used_by(
    shop: Shop, first: dict, second: dict
) -> None:
    shop.write(products(40))
    cut_off(shop, **first)
    run = shop.refresh(**{"config": CHUNKS_OF_TEN} | second | TOMORROW)
    assert asked(shop, run.run_id) == 40


@in_full
def test_answers_that_a_limit_a_root_or_a_store_had_a_say_in_are_asked_for_again(
    shop: Shop,
) -> None:
    shop.write(products(40))
    cut_off(shop)
    shop.sql("UPDATE shop.staged_attributes SET status = 'image_too_large'")
    run = shop.refresh(config=CHUNKS_OF_TEN, **TOMORROW)
    assert asked(shop, run.run_id) == 40


@in_full
def test_answers_that_were_blocked_or_taken_back_are_asked_for_again(shop: Shop) -> None:
    shop.write(products(40))
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, config=CHUNKS_OF_TEN)
    wrong = shop.refresh(config=CHUNKS_OF_TEN, run_id="wrong", **TOMORROW)
    roll_back(shop.tables, "wrong", "a bad GPU")
    again = shop.refresh(config=CHUNKS_OF_TEN, run_id="again", **TOMORROW)

    assert [asked(shop, run.run_id) for run in (wrong, again)] == [40, 40]


def breaks(staged: StagedRows) -> Verdict:
    raise OSError("disk")


@in_full
def test_answers_that_were_taken_back_are_asked_for_again_though_an_attempt_has_failed_since(
    shop: Shop,
) -> None:
    shop.write(products(40))
    shop.refresh(config=CHUNKS_OF_TEN, run_id="wrong")
    roll_back(shop.tables, "wrong", "a bad GPU")
    with pytest.raises(OSError, match="disk"):
        shop.refresh(breaks, config=CHUNKS_OF_TEN, run_id="wrong")
    ledger = shop.table("enrichment_runs").iloc[0]
    again = shop.refresh(config=CHUNKS_OF_TEN, run_id="again", **TOMORROW)

    assert (ledger["outcome"], ledger["reason"]) == (
        "rolled_back",
        "with run wrong: a bad GPU",
    )
    assert asked(shop, again.run_id) == 40


@in_full
def test_what_a_blocked_run_that_was_put_right_stages_before_it_dies_is_used_on_another_day(
    shop: Shop,
) -> None:
    table = products(40)
    shop.write(table.head(5))
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, config=CHUNKS_OF_TEN, run_id="night")
    shop.write(table)
    staged = cut_off(shop, run_id="night", dies_at=3)

    planned = plan_refresh(shop.prepare(config=CHUNKS_OF_TEN, **TOMORROW))
    run = shop.refresh(config=CHUNKS_OF_TEN, **TOMORROW)

    assert asked(shop, run.run_id) == 40 - (staged - 5)
    assert planned.staged == staged - 5
    # What the gate had said of the first five stands.
    ledger = shop.table("enrichment_runs").set_index("run_id")
    assert ledger.loc["night", ["outcome", "enriched"]].tolist() == ["blocked", 5]


@in_full
@pytest.mark.parametrize(
    "change", ["DELETE FROM {table}", "UPDATE {table} SET model_version = 'another-p90'"]
)
def test_a_published_answer_that_changes_before_it_is_carried_over_stops_the_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    table = products().assign(department="sale")
    shop.write(table)
    shop.refresh()
    select_carried = Stager._select_carried

    def meanwhile(self: Stager, revised: DataFrame) -> DataFrame:
        shop.sql(change.format(table="shop.product_attributes") + " WHERE product_id = 'p0'")
        return select_carried(self, revised)

    monkeypatch.setattr(Stager, "_select_carried", meanwhile)
    config = {"columns": {"category": "department"}}
    with pytest.raises(TableContended, match="start this run again"):
        shop.refresh(config=config)
    monkeypatch.undo()

    again = shop.refresh(config=config)
    assert (again.outcome, again.counts["published"]) == ("published", 6)


@in_full
def test_products_of_higher_priority_are_staged_first(shop: Shop) -> None:
    table = products(60)
    table["sales"] = [None, *range(59)]
    shop.write(table)

    shop.refresh(config={"products_per_chunk": 20, "columns": {"priority": "sales"}})

    staged = shop.table("staged_attributes")
    sales = staged.merge(table, on="product_id").groupby("chunk")["sales"]
    best, worst = sales.max().tolist(), sales.min().tolist()
    assert best == sorted(best, reverse=True)
    assert all(lowest > highest for lowest, highest in zip(worst, best[1:], strict=False))
    without = staged[staged["product_id"] == "p0"]["chunk"].iloc[0]
    assert without == staged["chunk"].max()


@pytest.mark.parametrize(
    "priorities",
    [
        pytest.param([9.0] * 30 + [None] * 970, id="few-urgent"),
        pytest.param([1.0] * 600 + [None] * 400, marks=in_full, id="most-flagged"),
        pytest.param([1.0] * 250 + [0.0] * 750, marks=in_full, id="flags"),
        pytest.param([1.0] * 1000, marks=in_full, id="equal"),
        pytest.param([None] * 1000, marks=in_full, id="none"),
        pytest.param([float(rank) for rank in range(1000)], marks=in_full, id="distinct"),
        pytest.param([1.0] + [0.0] * 999, marks=in_full, id="one-above"),
        pytest.param([1.0] * 999 + [0.0], marks=in_full, id="one-below"),
        pytest.param([5.0] * 550 + [4.0, 3.0] * 25 + [0.0] * 400, marks=in_full, id="between"),
        pytest.param([math.inf, -math.inf, None, 0.0] * 250, marks=in_full, id="infinite"),
    ],
)
def test_chunks_of_equal_size_go_in_order_of_priority(
    spark: SparkSession, tmp_path: Path, priorities: list[float | None]
) -> None:
    rows = spark.createDataFrame(
        [(f"p{place}", priority) for place, priority in enumerate(priorities)],
        "product_id STRING, priority DOUBLE",
    )

    chunks = list(cut_into_chunks(rows, 1000, 100, str(tmp_path / "chunks")))

    none = F.coalesce("priority", F.lit(-math.inf))
    found = [[row[0] for row in chunk.rows.select(none).collect()] for chunk in chunks]
    wanted = [-math.inf if priority is None else priority for priority in priorities]
    assert sorted(chain(*found)) == sorted(wanted)
    assert all(min(earlier) >= max(later) for earlier, later in pairwise(found))
    assert [chunk.products for chunk in chunks] == [len(chunk) for chunk in found]
    assert max(len(chunk) for chunk in found) < 150 and len(found) == 10


@in_full
def test_a_changed_product_of_the_same_run_id_is_staged_anew(shop: Shop) -> None:
    shop.refresh(run_id="mine", publish=False)
    changed = products()
    changed.loc[0, "title"] = "another shirt"
    shop.write(changed)

    shop.refresh(run_id="mine")

    assert shop.table("staged_attributes")["product_id"].is_unique
    hashes = shop.table("product_attributes").set_index("product_id")["content_hash"]
    staged = shop.table("staged_attributes").set_index("product_id")["content_hash"]
    assert hashes.to_dict() == staged.to_dict()


@in_full
def test_a_chunk_that_another_process_staged_stops_the_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_chunk = OutputTables.append_chunk

    def written_before(self: OutputTables, rows: object, run_id: str, chunk: int) -> None:
        append_chunk(self, rows, run_id, chunk)
        append_chunk(self, rows, run_id, chunk)

    monkeypatch.setattr(OutputTables, "append_chunk", written_before)

    with pytest.raises(RunInProgress, match="another process is staging run"):
        shop.refresh()


@in_full
def test_an_attempt_stops_where_a_later_one_at_the_same_run_has_staged(shop: Shop) -> None:
    earlier = shop.prepare(run_id="night")
    shop.refresh(run_id="night", publish=False)

    with pytest.raises(RunInProgress, match="another process is staging run"):
        Refresh(earlier, FakeGate()).run()

    assert shop.table("product_attributes").empty
    assert shop.table("enrichment_runs")["outcome"].tolist() == ["staged"]


@in_full
def test_a_chunk_that_comes_second_to_a_drop_of_its_run_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.tables.create_missing()
    rows = shop.tables.read("staged_attributes")
    conflict = ConcurrentAppendException("files were added to partition [run_id=nightly]")
    monkeypatch.setattr(DataFrameWriter, "saveAsTable", Mock(side_effect=conflict))

    with pytest.raises(TableContended, match=r"dropped rows that run 'nightly' has in .* again"):
        shop.tables.append_chunk(rows, "nightly", 0)


@in_full
def test_a_product_that_kills_its_worker_is_quarantined_and_all_others_published(
    shop: Shop,
) -> None:
    table = products(30)
    table.loc[[7, 21], "title"] = "poison"
    shop.write(table)

    counts = shop.refresh(spec=DeadlyEngineSpec("deadly-1")).counts

    assert (counts["published"], counts["quarantined"]) == (28, 2)
    poison = shop.table("quarantine")
    assert poison["product_id"].tolist() == ["p21", "p7"]
    assert set(poison["reason"]) == {"poison"}
    assert poison["error"].str.startswith("worker_crashed: the Python worker died").all()
    again = shop.refresh(spec=DeadlyEngineSpec("deadly-1"))
    assert again.outcome == "nothing_to_do"


def test_a_product_that_kills_more_workers_than_are_put_up_with_is_named(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    def die(rows: DataFrame, count: int) -> None:
        raise PySparkException("Python worker exited unexpectedly (crashed)")

    rows = spark.sql("SELECT 'p7' AS product_id")
    with pytest.raises(WorkersDied, match="raise max_poison_products"):
        PoisonFinder(die, max_poison=0).stage(rows, 1)

    assert "product 'p7' took its Python worker with it" in caplog.text


@in_full
def test_workers_that_die_of_everything_stop_the_run_and_quarantine_nothing(shop: Shop) -> None:
    with pytest.raises(WorkersDied, match="max_poison_products = 2"):
        shop.refresh(
            spec=DeadlyEngineSpec("deadly-2", deadly_word="shirt"),
            config={"max_poison_products": 2},
        )

    assert shop.table("quarantine").empty
    assert shop.table("product_attributes").empty
    ledger = shop.table("enrichment_runs").iloc[0]
    assert ledger["outcome"] == "failed"
    assert "max_poison_products = 2" in ledger["error"]


@in_full
def test_an_engine_that_leaves_a_product_out_stops_the_run(shop: Shop) -> None:
    with pytest.raises(Exception, match="the engine gave no answer to 1 of its products"):
        shop.refresh(spec=ForgetfulSpec("forgetful-1"))

    assert shop.table("product_attributes").empty
    assert shop.table("enrichment_runs").iloc[0]["outcome"] == "failed"


@in_full
@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_run_whose_staged_rows_another_process_has_dropped_stops_and_is_whole_when_repeated(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, is_resumed: bool
) -> None:
    shop.write(products(2))
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, run_id="nightly")
    if not is_resumed:
        drop_staged_run(shop.tables, "nightly", "no good")
    shop.write(products(8))
    hook = CommitHook(monkeypatch)

    def drop() -> None:
        shop.sql("DELETE FROM shop.staged_attributes WHERE run_id = 'nightly'")

    hook.at("after", drop, of=("append_chunk",))
    with pytest.raises(TableContended, match="start this run again"):
        shop.refresh(run_id="nightly", config={"products_per_chunk": 3})
    assert shop.table("product_attributes").empty

    again = shop.refresh(run_id="nightly")
    assert (again.outcome, again.counts["published"], again.counts["quarantined"]) == (
        "published",
        8,
        0,
    )
