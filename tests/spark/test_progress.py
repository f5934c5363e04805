"""What is seen of a run from outside while it goes on: jobs' names, progress, figures."""

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from enrich.spark import progress
from enrich.spark.progress import Progress, Work, WorkByWorker
from enrich.spark.session import name_jobs

pytestmark = pytest.mark.spark


def descriptions(spark):
    """Return the description of each job that Spark still knows, by the job's number."""
    jobs: Any = spark._jsc.sc().statusStore().jobsList(None)  # type: ignore[attr-defined]
    found = [jobs.apply(number) for number in range(jobs.size())]
    said = {job.jobId(): job.description() for job in found}
    return {number: one.get() if one.isDefined() else None for number, one in said.items()}


def test_every_job_of_a_run_says_run_stage_and_chunk_and_the_ledger_how_encoding_went(shop, spark):
    before = set(descriptions(spark))
    config = {"products_per_chunk": 3, "metrics_dir": shop.folder / "metrics"}

    # As `open_session` names what belongs to no run yet.
    with name_jobs(spark, "enrich_catalog"):
        run = shop.refresh(config=config)

    new = {number: said for number, said in descriptions(spark).items() if number not in before}
    said = set(new.values())
    assert None not in said
    named = {one for one in said if one and one.startswith(f"run {run.run_id}")}
    chunk = re.compile(rf"run {run.run_id}: encode, chunk (\d): (\d) of 6 contents")
    sizes = {one[1]: int(one[2]) for one in map(chunk.fullmatch, named) if one}
    assert set(sizes) == {"1", "2"} and sum(sizes.values()) == 6
    assert named >= {f"run {run.run_id}: answer", f"run {run.run_id}: publish"}
    assert run.encoding["done"] == run.encoding["asked"] == run.counts["encoded"] == 6
    # A worker that has the engine already loads none.
    assert run.encoding["engine_loads"] >= 0 and run.encoding["worker_peak_bytes"] > 5e7
    told = shop.sql(f"SELECT encoding FROM shop.enrichment_runs WHERE run_id = '{run.run_id}'")
    assert dict(told["encoding"].item()) == run.encoding
    # Encoding is over.
    (running,) = (shop.folder / "metrics").glob("*_running.prom")
    assert running.read_text() == ""


def test_names_of_jobs_within_others_give_way_again(spark):
    def now():
        names = ("spark.job.description", "spark.jobGroup.id")
        first, second = map(spark.sparkContext.getLocalProperty, names)
        return first, second

    outside = now()
    with name_jobs(spark, "a", group="g"):
        with name_jobs(spark, "b"):
            assert now() == ("b", "g")
        assert now() == ("a", "g")
    assert now() == outside


def wait_until(holds):
    """Return as soon as it holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_at_work_tells_how_far_it_is(spark, tmp_path, monkeypatch, caplog):
    for name in ("_SAMPLE_S", "_FILE_S", "_LINE_S"):
        monkeypatch.setattr(progress, name, 0.05)
    told: list[Any] = []
    with caplog.at_level(logging.INFO, "enrich"), Progress(spark, 400, told.append) as watched:
        works = watched.works

        def when_allowed(number, rows):
            allowed = tmp_path / ("first" if number < 2 else "last")
            while not allowed.exists():
                time.sleep(0.02)
            progress.add_work(works, loads=1, contents=100)
            yield from rows

        def tells(done):
            # Spark writes its counts with a delay: one that has ended may still be among them.
            return any(one["done"] == done and 2 <= one["slots_busy"] <= 3 for one in list(told))

        rows = spark.sparkContext.parallelize(range(4), 4).mapPartitionsWithIndex(when_allowed)
        with ThreadPoolExecutor(1) as aside:
            counting = aside.submit(rows.count)
            wait_until(lambda: tells(done=0))
            (tmp_path / "first").touch()
            wait_until(lambda: tells(done=200))
            (tmp_path / "last").touch()
            assert counting.result() == 4
    assert told[-1] is None
    assert watched.figures["done"] == 400 and watched.figures["engine_loads"] == 4
    assert 0 < watched.figures["slots_busy"] <= 3
    lines = [record.getMessage() for record in caplog.records]
    assert any("encoded 200 of 400 contents" in line and "left" in line for line in lines)


def test_work_adds_up_and_memory_does_not():
    one = {"a:1": Work(1, 10, 500)}
    two = {"a:1": Work(0, 5, 900), "b:2": Work(1, 1, 1)}
    added = WorkByWorker().addInPlace(one, two)
    assert added == {"a:1": Work(1, 15, 900), "b:2": Work(1, 1, 1)}
