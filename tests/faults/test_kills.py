"""A run that is killed at any of its commits, repeated, ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cases import is_full, only_in_full
from own_process import run_script, with_support
from shop import products

from enrich.spark.diff import hash_content
from enrich.spark.tables import Tables

IN_CHUNKS = {"products_per_chunk": 4, "missing_products": "delete", "max_deleted_share": 1.0}
CHUNK = 4
# The commit of the first chunk, after that of the empty table.
FIRST_CHUNK = "warehouse/shop.db/encodings/_delta_log/00000000000000000001.json"


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


@contextmanager
def killed_at(commit, *, before):
    """Kill what is inside before or after its n-th commit; yield the commits so far."""
    commits: list[str] = []
    tag_commits = Tables.tag_commits

    @contextmanager
    def killing(self, run_id):
        commits.append(run_id)
        if before and len(commits) == commit:
            raise Killed
        with tag_commits(self, run_id):
            yield
        if not before and len(commits) == commit:
            raise Killed

    Tables.tag_commits = killing  # type: ignore[method-assign, assignment]
    try:
        yield commits
    finally:
        Tables.tag_commits = tag_commits  # type: ignore[method-assign]


def night(number):
    """Ten changed products; on every second night two of them are new and two others missing."""
    return products(12, mark=f" of night {number}").iloc[2 * (number % 2) :][:10]


def contents_of(shop, number):
    """Return the hashes of a night's texts, without a picture."""
    return {hash_content(title, None, "image_missing") for title in night(number)["title"]}


def count_encodings(shop):
    return len(shop.table("encodings"))


def test_a_run_that_is_killed_at_any_commit_and_repeated_ends_as_if_undisturbed(shop, drill):
    shop.write(night(0))
    shop.refresh(config=IN_CHUNKS)
    shop.write(night(1))
    with killed_at(10_000, before=True) as commits:
        shop.refresh(config=IN_CHUNKS)
    points = len(commits)
    assert points >= 8
    # After one commit is before the next one, but for what the process remembers. The last two
    # are MERGE's and the last event's.
    some = sorted({*range(3, 2 + 2 * points, 6), 2 * points - 1, 2 * points + 1})
    numbers = range(2, 2 + 2 * points) if is_full() else some
    drill.counts["kill_points"] += len(numbers)
    for number in numbers:
        commit, before = number // 2, bool(number % 2)
        shop.write(night(number))
        encoded = count_encodings(shop)
        with pytest.raises(Killed), killed_at(commit, before=before):
            shop.refresh(config=IN_CHUNKS)
        drill.counts["kills"] += 1
        shop.refresh(config=IN_CHUNKS)
        rows = shop.table("product_attributes")
        assert sorted(rows["product_id"]) == sorted(night(number)["product_id"]), commit
        assert set(rows["content_hash"]) == contents_of(shop, number), commit
        # The killed attempt's chunks are used, and none is made again.
        assert count_encodings(shop) == encoded + 10
        drill.counts["kills_survived"] += 1
    assert shop.refresh(config=IN_CHUNKS).outcome == "nothing_to_do"


@only_in_full
def test_a_process_that_is_killed_with_all_its_workers_is_repeated(spark, tmp_path, drill):
    script = Path(__file__).with_name("slow_refresh.py")
    command = [sys.executable, script, tmp_path]
    with subprocess.Popen(command, env=with_support(), start_new_session=True) as process:
        deadline = time.monotonic() + 300
        while not (tmp_path / FIRST_CHUNK).exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
    counts, _ = run_script(script, tmp_path)
    assert counts["published"] == 20
    assert counts["reused"] >= CHUNK
    assert counts["encoded"] + counts["reused"] == 20
    drill.counts["kill_points"] += 1
    drill.counts["kills"] += 1
    drill.counts["kills_survived"] += 1
