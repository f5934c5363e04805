"""Catalogs are called by their folders' names."""

from pathlib import Path

import pytest

from enrich.training.names import name_catalog


def test_a_catalog_is_named_by_its_folder_from_wherever_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop" / "images"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    given = (Path(".."), tmp_path / "shop", Path("food101:../../shop"))
    assert {name_catalog(catalog) for catalog in given} == {"shop"}
    assert name_catalog(Path()) == "images"
