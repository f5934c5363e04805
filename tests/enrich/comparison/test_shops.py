"""What is evaluated on, and what is refused before anything is computed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled import load_labelled

from enrich.comparison.shops import LabelledShop, build_shops
from enrich.errors import ConfigError
from enrich.training.labelled import TEST
from schemas.labels import ATTRIBUTE_LABELS


def test_a_catalog_is_evaluated_on_its_test_groups_and_a_strange_shop_whole(
    shop_folder: Path,
) -> None:
    known, strange = build_shops([shop_folder], [shop_folder], limit=None)
    assert (known.title, strange.title) == ("colored, test groups", "colored, all products")
    everything = load_labelled([shop_folder], ATTRIBUTE_LABELS)
    held_back = known.load(ATTRIBUTE_LABELS)
    assert 0 < len(held_back) < 20 and (held_back.split == TEST).all()
    assert len(held_back) == (everything.split == TEST).sum()
    assert strange.load(ATTRIBUTE_LABELS).texts == everything.texts


def test_rows_stay_together_and_groups_are_numbered_without_a_gap(shop_folder: Path) -> None:
    everything = load_labelled([shop_folder], ATTRIBUTE_LABELS)
    held_back = LabelledShop(shop_folder, trained_on=True).load(ATTRIBUTE_LABELS)
    rows = np.flatnonzero(everything.split == TEST)
    assert held_back.texts == [everything.texts[row] for row in rows]
    assert held_back.image_paths == [everything.image_paths[row] for row in rows]
    assert (held_back.targets == everything.targets[rows]).all()
    same = everything.groups[rows][:, None] == everything.groups[rows]
    assert ((held_back.groups[:, None] == held_back.groups) == same).all()
    assert set(held_back.groups) == set(range(held_back.groups.max() + 1))


def test_a_limit_takes_products_spread_over_the_whole_catalog(shop_folder: Path) -> None:
    everything = load_labelled([shop_folder], ATTRIBUTE_LABELS)
    some = LabelledShop(shop_folder, trained_on=False, limit=5).load(ATTRIBUTE_LABELS)
    assert some.texts == [everything.texts[row] for row in (0, 14, 29, 44, 59)]
    more = LabelledShop(shop_folder, trained_on=False, limit=1000).load(ATTRIBUTE_LABELS)
    assert len(more) == len(everything)


def test_labels_that_a_checkpoint_does_not_know_are_counted(
    shop_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solid = {"pattern": ("solid", "pied")}
    LabelledShop(shop_folder, trained_on=False).load(solid)
    said = " ".join(capsys.readouterr().err.split())
    assert "products of colored, all products have a label that is not listed" in said
    LabelledShop(shop_folder, trained_on=False).load(ATTRIBUTE_LABELS)
    assert "not listed" not in capsys.readouterr().err


def test_what_gives_no_figure_is_refused_with_a_reason(shop_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--strange-shop"):
        build_shops([], [], limit=None)
    with pytest.raises(ConfigError, match="colored, test groups; rename"):
        build_shops([shop_folder, shop_folder], [], limit=None)
    with pytest.raises(ConfigError, match="is one of sleeve"):
        LabelledShop(shop_folder, trained_on=False).load({"sleeve": ("long", "short")})
    for table in ("products", "labels"):
        pd.read_parquet(shop_folder / f"{table}.parquet").head(1).to_parquet(
            tmp_path / f"{table}.parquet"
        )
    with pytest.raises(ConfigError, match="no test group in"):
        LabelledShop(tmp_path, trained_on=True).load(ATTRIBUTE_LABELS)
