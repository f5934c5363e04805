"""Encoding: contents that kill their worker, chunks by priority, and rows that are lost."""

import pytest
from pyspark.sql import functions as F
from shop import products

from bench.fake_engine import FakeEngineSpec
from enrich.config import JobConfig
from enrich.errors import EnrichError, WorkersDied
from enrich.spark import encode
from enrich.spark.encode import choose_tasks, cut_into_chunks, select_contents, take_chunk

CRASHES = FakeEngineSpec(crashes=True)


def with_crashing(count, crashing):
    table = products(count)
    table.loc[: crashing - 1, "title"] = [f"crash-worker {n}" for n in range(crashing)]
    return table


def test_a_content_that_kills_its_worker_is_quarantined_and_the_others_published(shop, monkeypatch):
    shop.write(with_crashing(12, 1))
    encode_chunk, at_work, most = encode.Encoder._encode_chunk, [], [0]

    def count(self, *rest):
        at_work.append(rest)
        most.append(len(at_work))
        try:
            encode_chunk(self, *rest)  # type: ignore[arg-type]
        finally:
            at_work.pop()

    with monkeypatch.context() as patched:
        patched.setattr(encode.Encoder, "_encode_chunk", count)
        summary = shop.refresh(spec=CRASHES, config={"products_per_chunk": 4})
    # Chunks overlap, and the crash in one spares the others.
    assert max(most) == 3
    assert (summary.counts["published"], summary.counts["quarantined"]) == (11, 1)
    commits = shop.sql("DESCRIBE HISTORY shop.encodings")
    appends = commits[commits["operation"] == "WRITE"]
    assert set(appends["userMetadata"]) == {f'{{"run_id": "{summary.run_id}"}}'}
    found = shop.table("quarantine").iloc[0]
    assert (found["product_id"], found["reason"]) == ("p0", "worker_crashed")
    # It is not tried again the next night, and is after a week.
    assert shop.refresh(spec=CRASHES).outcome == "nothing_to_do"
    for table, moment in (("encodings", "encoded_at"), ("quarantine", "found_at")):
        shop.spark.sql(f"UPDATE {shop.database}.{table} SET {moment} = {moment} - INTERVAL 8 DAYS")
    assert shop.refresh(spec=FakeEngineSpec()).counts["published"] == 1


def test_many_contents_that_kill_their_worker_fail_the_run(shop):
    shop.write(with_crashing(6, 3))
    with pytest.raises(WorkersDied, match="max_crashing_products"):
        shop.refresh(spec=CRASHES, config={"max_crashing_products": 1})
    assert shop.state(shop.summary.run_id) == "failed"


def test_chunks_that_are_done_are_not_encoded_again_after_a_failure(shop, monkeypatch):
    shop.write(products(30))
    in_chunks = {"products_per_chunk": 10}
    encode_chunk = encode.Encoder._encode_chunk
    calls = []

    def fail_at_the_third(self, *rest):
        calls.append(rest)
        if len(calls) == 3:
            raise RuntimeError("killed")
        encode_chunk(self, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(encode.Encoder, "_encode_chunk", fail_at_the_third)
        with pytest.raises(RuntimeError, match="killed"):
            shop.refresh(config=in_chunks)
    done = len(shop.table("encodings"))
    assert 0 < done < 30
    summary = shop.refresh(config=in_chunks)
    assert (summary.counts["encoded"], summary.counts["reused"]) == (30 - done, done)
    assert len(shop.table("product_attributes")) == 30


def test_rows_that_are_lost_on_the_way_fail_the_run(shop, monkeypatch):
    whole = encode.Encoder._encode_lazily
    monkeypatch.setattr(
        encode.Encoder, "_encode_lazily", lambda self, *rest: whole(self, *rest).limit(3)
    )
    with pytest.raises(EnrichError, match=r"found 3 rows of \d+ contents, expected 6"):
        shop.refresh()
    assert len(shop.table("product_attributes")) == 0


def test_urgent_contents_come_in_the_first_chunks(shop):
    numbers = range(1_000)
    rows = shop.spark.createDataFrame(
        [(f"{n:032x}", f"p{n}", float(n % 10)) for n in numbers],
        "content_hash STRING, product_id STRING, priority DOUBLE",
    )
    sizes, means, seen = [], [], set[str]()
    chunks = cut_into_chunks(rows, len(numbers), 50, f"{shop.folder}/contents")
    # Spark would draw other bounds when it computes ranges once more.
    shop.spark.catalog.clearCache()
    for chunk in chunks:
        found = chunk.rows.collect()
        assert len(found) == chunk.contents
        sizes.append(len(found))
        means.append(sum(row["priority"] for row in found) / len(found))
        seen |= {row["product_id"] for row in found}
    assert sum(sizes) == len(seen) == len(numbers)
    assert means == sorted(means, reverse=True)
    assert len(sizes) >= 15 and max(sizes) <= 100


def test_chunks_are_joined_until_they_have_enough(shop):
    rows = shop.spark.createDataFrame(
        [(f"{n:032x}", float(n)) for n in range(60)], "content_hash STRING, priority DOUBLE"
    )
    chunks = cut_into_chunks(rows, 60, 10, f"{shop.folder}/contents")
    sizes = [chunk.contents for chunk in chunks]
    first, joined, rest = (take_chunk(chunks, enough) for enough in (0, sum(sizes[1:3]), 99))
    found = [{row["priority"] for row in chunk.rows.collect()} for chunk in (joined, rest)]
    assert (first.contents, joined.contents) == (sizes[0], sum(sizes[1:3]))
    assert [len(some) for some in found] == [joined.contents, 60 - first.contents - joined.contents]
    assert min(found[0]) > max(found[1]) and not chunks


def test_one_row_stands_for_a_content_with_its_highest_priority(shop):
    fields = "content_hash STRING, product_id STRING, priority DOUBLE, image_digest STRING"
    rows = shop.spark.createDataFrame(
        [("h", "a", None, "d"), ("h", "b", 5.0, "d"), ("h", "c", 1.0, "d")], fields
    )
    texts = {name: F.lit(None).cast("string") for name in ("title", "description", "image_path")}
    found = select_contents(rows.withColumns({**texts, "outcome": F.lit("new")})).collect()
    assert [(row["product_id"], row["priority"]) for row in found] == [("b", 5.0)]


@pytest.mark.parametrize(
    ("contents", "cores", "tasks"), [(1, 4, 1), (64, 4, 1), (65, 4, 2), (10_000, 4, 8)]
)
def test_tasks_come_in_whole_rounds_over_the_cores(contents, cores, tasks):
    config = JobConfig(batch_size=64, products_per_task=2_000)
    assert choose_tasks(contents, config, cores) == tasks
