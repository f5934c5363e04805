"""A demo catalog is a function of its arguments, and is written whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from enrich.demo.catalog import is_demo_catalog, write_demo_catalog
from enrich.errors import ConfigError
from schemas.labels import ATTRIBUTE_LABELS

JOB = Path(__file__).parents[2] / "jobs" / "make_demo_catalog.py"


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_same_seed_draws_the_same_bytes(few: Path, tmp_path: Path) -> None:
    write_demo_catalog(tmp_path / "again", products=20, seed=2)
    write_demo_catalog(tmp_path / "other", products=4, seed=4)
    assert _files(few) == _files(tmp_path / "again")
    pictures = set(_files(few / "images").values())
    assert pictures.isdisjoint(_files(tmp_path / "other" / "images").values())


def test_a_product_does_not_depend_on_how_many_are_drawn(demo: Path, few: Path) -> None:
    pictures = _files(few / "images")
    assert pictures and pictures.items() <= _files(demo / "images").items()


def test_labels_come_from_the_label_sets(labels: pd.DataFrame) -> None:
    for attribute, allowed in ATTRIBUTE_LABELS.items():
        assert set(labels[attribute].dropna()) <= set(allowed)
    assert labels.color.notna().all() and labels["style"].notna().all()
    assert 0.1 < labels.pattern.isna().mean() < 0.5


def test_second_photographs_share_a_group_and_a_label(labels: pd.DataFrame) -> None:
    groups = labels.groupby("group_id")
    assert groups.size().max() == 2
    assert (groups[["color", "style"]].nunique() == 1).all(axis=None)


def test_a_demo_catalog_is_replaced_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    write_demo_catalog(tmp_path / "demo", products=2)
    write_demo_catalog(tmp_path / "demo", products=1)
    assert len(pd.read_parquet(tmp_path / "demo" / "products.parquet")) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "products.parquet").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="not a demo catalog"):
        write_demo_catalog(tmp_path / "mine", products=1)
    assert (tmp_path / "mine" / "products.parquet").read_bytes() == b"precious"


@pytest.mark.parametrize("place", ["labelled.csv", "images/own.jpg", "checkpoint/config.json"])
def test_what_a_person_has_put_beside_a_demo_catalog_is_not_deleted_with_it(
    tmp_path: Path, place: str
) -> None:
    write_demo_catalog(tmp_path / "demo", products=2)
    precious = tmp_path / "demo" / place
    precious.parent.mkdir(exist_ok=True)
    precious.write_bytes(b"precious")
    before = _files(tmp_path / "demo")
    with pytest.raises(ConfigError, match=f"'{place}'; name another folder or move"):
        write_demo_catalog(tmp_path / "demo", products=1)
    assert _files(tmp_path / "demo") == before


def test_a_run_that_fails_leaves_no_half_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(index: int, *, seed: int) -> None:
        raise RuntimeError("killed")

    write_demo_catalog(tmp_path / "demo", products=2)
    before = _files(tmp_path / "demo")
    monkeypatch.setattr("enrich.demo.catalog.make_product", fail)
    with pytest.raises(RuntimeError, match="killed"):
        write_demo_catalog(tmp_path / "demo", products=2)
    assert _files(tmp_path / "demo") == before
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_command_line_refuses_a_folder_of_other_things_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    command = [sys.executable, str(JOB), "--products", "2", "--output"]
    refused = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert refused.returncode == 2 and "not a demo catalog" in refused.stderr
    made = subprocess.run([*command, str(tmp_path / "new")], capture_output=True, text=True)
    assert made.returncode == 0 and "2 products with planted flaws" in made.stdout
    assert is_demo_catalog(tmp_path / "new")
