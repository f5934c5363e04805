"""A disk that may not be written: one clear line, whole tables, and the next run goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_shop import Shop, products

from enrich.spark.storage import explain_storage_failure

pytestmark = pytest.mark.spark

PRODUCTS = 1_000
TABLES = ("product_attributes", "staged_attributes", "quarantine", "enrichment_runs")


class Disk:
    """A file system of a few megabytes, to be made read-only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", options, "tmpfs", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("NO SMALL DISK: this user may not mount one, so this claim is NOT tested")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def cramped(disk: Disk, shop: Shop) -> Shop:
    """A shop whose tables live on that disk."""
    shop.sql(f"CREATE DATABASE {shop.database} LOCATION 'file:{disk.folder}/tables'")
    shop.write(products(PRODUCTS))
    return shop


def fail(shop: Shop) -> str:
    """Returns the one line with which a run ends that cannot write, "" where it can."""
    try:
        shop.refresh(run_id="monday")
    except Exception as error:
        failure = explain_storage_failure(error)
        assert failure is not None, error
        assert failure.exit_code == 1
        return str(failure)
    return ""


def count_rows(shop: Shop) -> dict[str, int]:
    there = [table for table in TABLES if shop.spark.catalog.tableExists(shop.tables.name(table))]
    return {table: len(shop.table(table)) for table in there}


def test_disk_that_may_not_be_written_is_named_and_its_tables_stay_readable(
    disk: Disk, cramped: Shop
) -> None:
    cramped.refresh(run_id="sunday")
    before = count_rows(cramped)
    cramped.write(products(PRODUCTS + 1))
    disk.mount("remount,ro")

    line = fail(cramped)

    assert f"{disk.folder}" in line and "is on a read-only file system" in line
    assert "\n" not in line
    assert count_rows(cramped) == before
    disk.mount("remount,rw")
    assert cramped.refresh(run_id="monday").counts["published"] == 1
