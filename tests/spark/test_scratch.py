from pathlib import Path

import pytest
from fake_shop import Shop

from enrich.spark.tables.scratch import remove_old_scratch, scratch_folder

pytestmark = pytest.mark.spark


@pytest.fixture
def leftover(shop: Shop) -> Path:
    """What a killed run left."""
    shop.sql(f"CREATE DATABASE {shop.database}")
    folder = Path(shop.tables.location().removeprefix("file:")) / "_scratch" / "of-a-killed-run"
    (folder / "survey").mkdir(parents=True)
    return folder


def test_scratch_of_a_killed_run_is_removed_when_it_is_old(shop: Shop, leftover: Path) -> None:
    assert remove_old_scratch(shop.tables, days=7) == 0
    assert leftover.exists()

    assert remove_old_scratch(shop.tables, days=0) == 1
    assert not leftover.exists()


def test_scratch_is_removed_also_when_a_run_fails(shop: Shop, leftover: Path) -> None:
    with pytest.raises(KeyError), scratch_folder(shop.tables) as name:
        folder = Path(name.removeprefix("file:"))
        folder.mkdir()
        raise KeyError

    assert not folder.exists()
    assert leftover.exists()


def test_the_age_of_scratch_is_in_its_name_where_a_store_knows_no_time_of_folders(
    shop: Shop, leftover: Path
) -> None:
    with scratch_folder(shop.tables) as name:
        old = leftover.with_name("20200131T120000-of-a-killed-run")
        old.mkdir()
        Path(name.removeprefix("file:")).mkdir()

        assert remove_old_scratch(shop.tables, days=7) == 1
        assert not old.exists()
        assert leftover.exists()
        assert Path(name.removeprefix("file:")).exists()
