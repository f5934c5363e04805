"""A disk that is full or may not be written: one clear line, whole tables, and the run goes on."""

import os
import subprocess

import pytest
from cases import is_full
from shop import products

from enrich.spark import tables
from enrich.spark.failures import explain_failure

pytestmark = pytest.mark.spark

PRODUCTS = 1_000
# From too little for a table's first commit to just too little for the ledger's row.
LEFT_KB = (8, 60, 120, 180, 240, 300) if is_full() else (60,)
TABLES = ("product_attributes", "candidates", "encodings", "quarantine")


class Disk:
    """A file system of a few megabytes, to be filled up or made read-only."""

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, left_kb):
        with self._ballast.open("wb") as ballast:
            statistics = os.statvfs(self.folder)
            free = statistics.f_bavail * statistics.f_frsize
            ballast.write(bytes(max(0, free - 1024 * left_kb)))

    def make_room(self):
        self._ballast.unlink()

    def mount(self, options):
        subprocess.run(["mount", "-o", options, "tmpfs", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("NO SMALL DISK: this user may not mount one, so this claim is NOT tested")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def cramped(disk, bare_shop):
    """A shop whose tables live on that disk."""
    bare_shop.sql(f"CREATE DATABASE {bare_shop.database} LOCATION 'file:{disk.folder}/tables'")
    bare_shop.write(products(PRODUCTS))
    return bare_shop


def fail(shop):
    """Returns the one line with which a run ends that cannot write, "" where it can."""
    try:
        shop.refresh(trigger="monday")
    except Exception as error:
        failure = explain_failure(error)
        assert failure is not None, error
        assert failure.exit_code == 1
        return str(failure)
    return ""


def count_rows(shop):
    there = [table for table in TABLES if shop.spark.catalog.tableExists(shop.tables.name(table))]
    return {table: len(shop.table(table)) for table in there}


def test_a_disk_that_is_full_or_read_only_is_named_and_the_run_goes_on_later(
    disk, cramped, monkeypatch
):
    # To the next run, what the creation of a table left is old: another process takes seconds to
    # start.
    monkeypatch.setattr(tables, "ABANDONED_AFTER_S", 0)
    failures = []
    for left_kb in LEFT_KB:
        disk.fill(left_kb)
        if line := fail(cramped):
            failures.append(line)
        disk.make_room()
        rows = count_rows(cramped)
        assert rows.get("product_attributes", 0) in (0, PRODUCTS)
        assert rows.get("encodings", 0) in (0, PRODUCTS)

    assert failures
    for line in failures:
        assert "No space left on device" in line
        assert f"{disk.folder}" in line and "MB left" in line and "Make room" in line
        assert "\n" not in line and "\tat " not in line
    summary = cramped.refresh(trigger="monday")
    assert summary.outcome in ("published", "nothing_to_do")
    assert count_rows(cramped)["encodings"] == PRODUCTS
    assert sorted(cramped.table("product_attributes")["product_id"]) == sorted(
        products(PRODUCTS)["product_id"]
    )

    before = count_rows(cramped)
    cramped.write(products(PRODUCTS + 1))
    disk.mount("remount,ro")

    line = fail(cramped)

    assert f"{disk.folder}" in line and "is on a read-only file system" in line
    assert "\n" not in line
    assert count_rows(cramped) == before
    disk.mount("remount,rw")
    assert cramped.refresh(trigger="monday").counts["published"] == 1
