"""Labelled products: numbers, groups and splits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled import load_labelled

from enrich.errors import ConfigError
from enrich.training.labelled import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    LabelledProducts,
    count_known_tests,
    count_split_groups,
    find_unlisted,
    join_catalogs,
    name_catalog,
    read_catalogs,
)
from enrich.training.preparation import find_absent

ATTRIBUTES = {"color": ("red", "blue"), "fit": ("slim", "wide")}


def _write(folder: Path, count: int, **columns: list[object]) -> Path:
    """Write a catalog of `count` products; `columns` change or add to its labels."""
    folder.mkdir(parents=True)
    ids = [f"p{number}" for number in range(count)]
    products = {
        "product_id": ids,
        "title": [f"shirt {number}" for number in range(count)],
        "description": [None] * count,
        "image_path": [f"{number}.jpg" for number in range(count)],
    }
    labels = {"product_id": ids, "group_id": ids, "color": ["red"] * count} | columns
    pd.DataFrame(products).to_parquet(folder / "products.parquet")
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    return folder


def _splits_by_group(products: LabelledProducts) -> dict[int, set[int]]:
    splits: dict[int, set[int]] = {}
    for group, split in zip(products.groups, products.split, strict=True):
        splits.setdefault(int(group), set()).add(int(split))
    return splits


def test_a_group_never_straddles_splits(tmp_path: Path) -> None:
    groups = [f"g{number % 400}" for number in range(2_000)]
    products = load_labelled([_write(tmp_path / "a", 2_000, group_id=groups)], ATTRIBUTES)
    splits = _splits_by_group(products)
    assert len(splits) == 400 and all(len(split) == 1 for split in splits.values())
    assert count_split_groups(products) == 0
    shares = np.bincount(products.split, minlength=3) / len(products)
    assert shares[[TRAIN, VALIDATION, TEST]] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)


def test_groups_that_a_published_split_parts_are_counted_each_once(tmp_path: Path) -> None:
    groups = [f"g{number % 40}" for number in range(200)]
    products = load_labelled([_write(tmp_path / "a", 200, group_id=groups)], ATTRIBUTES)
    parted = products.split.copy()
    for row in (0, 40, 1, 2):  # of three groups; the others of each stay where they were
        parted[row] = (parted[row] + 1) % 3
    assert count_split_groups(replace(products, split=parted)) == 3


def test_a_group_falls_into_the_same_split_whatever_else_is_read(tmp_path: Path) -> None:
    few = load_labelled([_write(tmp_path / "few", 50)], ATTRIBUTES)
    many = load_labelled([_write(tmp_path / "other", 80), tmp_path / "few"], ATTRIBUTES)
    assert many.split[80:].tolist() == few.split.tolist()
    assert len(set(few.split.tolist())) == 3


def test_a_group_stays_in_the_split_that_earlier_versions_gave_it(tmp_path: Path) -> None:
    # Else a checkpoint of theirs is tested on products that it was trained or chosen by.
    split = load_labelled([_write(tmp_path / "a", 40)], ATTRIBUTES).split
    assert np.flatnonzero(split == TEST).tolist() == [5, 8, 20, 26, 34, 37]
    assert np.flatnonzero(split == VALIDATION).tolist() == [11, 17, 31]


def test_a_label_that_is_not_in_the_set_counts_as_unlabelled(tmp_path: Path) -> None:
    colors = ["red", "blue", "mauve", None]
    read = read_catalogs([_write(tmp_path / "a", 4, color=colors)])
    products = join_catalogs(read, ATTRIBUTES)
    assert products.targets[:, 0].tolist() == [0, 1, UNLABELLED, UNLABELLED]
    assert find_unlisted(read, ATTRIBUTES) == {"color": ["mauve"], "fit": []}


def test_labels_that_no_product_to_train_on_has_are_named(tmp_path: Path) -> None:
    attributes = {"color": ("red", "rouge", "blue"), "fit": ("slim",)}
    folder = _write(tmp_path / "a", 3, color=["red", "blue", None])
    products = replace(load_labelled([folder], attributes), split=np.full(3, TRAIN))
    assert find_absent(products, attributes) == {"color": ["rouge"], "fit": ["slim"]}
    products.split[1] = VALIDATION
    assert find_absent(products, attributes)["color"] == ["rouge", "blue"]


def test_blanks_around_a_label_are_none_of_it(tmp_path: Path) -> None:
    colors = ["red ", "\tblue", " ", ""]
    catalog = _write(tmp_path / "a", 4, color=colors)
    assert read_catalogs([catalog])[0].labels["color"] == ["red", "blue", None, None]
    products = load_labelled([catalog], ATTRIBUTES)
    assert products.targets[:, 0].tolist() == [0, 1, UNLABELLED, UNLABELLED]
    older = {"color": ("red ", "blue")}
    known = load_labelled([tmp_path / "a"], older).targets[:2, 0]
    assert known.tolist() == [0, 1]


def test_labels_that_look_the_same_are_one(tmp_path: Path) -> None:
    colors = ["Gr\u00fcn", "Gru\u0308n", "dark  blue", "dark blue"]
    read = read_catalogs([_write(tmp_path / "a", 4, color=colors)])
    assert set(read[0].labels["color"]) == {"Gr\u00fcn", "dark blue"}
    given = {"color": ("Gru\u0308n", "dark blue")}
    assert join_catalogs(read, given).targets[:, 0].tolist() == [0, 0, 1, 1]


def test_capitals_do_not_count_where_one_label_alone_can_be_meant(tmp_path: Path) -> None:
    colors = ["Red", "BLUE", "red", "mauve"]
    read = read_catalogs(
        [_write(tmp_path / "a", 4, color=colors, fit=["Slim", "SLIM", "slim", "x"])]
    )
    attributes = {"color": ("red", "blue"), "fit": ("slim", "Slim")}
    targets = join_catalogs(read, attributes).targets.T.tolist()
    assert targets == [[0, 1, 0, UNLABELLED], [1, UNLABELLED, 0, UNLABELLED]]
    assert find_unlisted(read, attributes) == {"color": ["mauve"], "fit": ["SLIM", "x"]}


def test_labels_that_only_resemble_each_other_are_two(tmp_path: Path) -> None:
    sizes = ["102", "10\u00b2"]
    products = load_labelled([_write(tmp_path / "a", 2, size=sizes)], {"size": tuple(sizes)})
    assert products.targets[:, 0].tolist() == [0, 1]


def test_an_attribute_that_a_catalog_lacks_is_unlabelled_there(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", 2)
    other = _write(tmp_path / "other", 2, fit=["wide", "slim"])
    products = load_labelled([one, other], ATTRIBUTES)
    assert products.targets[:, 1].tolist() == [UNLABELLED, UNLABELLED, 1, 0]
    assert products.image_roots == [str(one)] * 2 + [str(other)] * 2


def test_rows_join_by_id_and_not_by_place(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", 3)
    labels = pd.DataFrame(
        {"product_id": ["p2", "p0"], "group_id": ["x", "y"], "color": ["blue", "red"]}
    )
    labels.to_parquet(folder / "labels.parquet")
    products = load_labelled([folder], ATTRIBUTES)
    assert products.texts == ["shirt 0", "shirt 2"]
    assert products.targets[:, 0].tolist() == [0, 1]


def test_ids_and_groups_may_be_integers(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", 3, group_id=[7, 7, 8])
    for name in ("products.parquet", "labels.parquet"):
        table = pd.read_parquet(folder / name)
        table["product_id"] = [1, 2, 3]
        table.to_parquet(folder / name)
    products = load_labelled([folder], ATTRIBUTES)
    assert products.groups.tolist() == [0, 0, 1]


def test_groups_of_two_catalogs_that_are_numbered_alike_are_not_one(tmp_path: Path) -> None:
    catalogs = [_write(tmp_path / name, 3, group_id=["1", "1", "2"]) for name in ("a", "b")]
    assert load_labelled(catalogs, ATTRIBUTES).groups.tolist() == [0, 0, 1, 2, 2, 3]


def _parted(products: LabelledProducts, names: Sequence[str | None]) -> set[str | None]:
    """Return those of the names, one a product, that are in more than one split."""
    splits: dict[str | None, set[int]] = {}
    for name, split in zip(names, products.split, strict=True):
        splits.setdefault(name, set()).add(int(split))
    return {name for name, found in splits.items() if len(found) > 1}


def _write_table(folder: Path, lines: Sequence[str], *, has_split: bool = False) -> Path:
    """Write a table of title, picture, color and maybe split, and what describes it."""
    header = "title,picture,color" + ",split" * has_split
    (folder / "shop.csv").write_text("\n".join([header, *lines]))
    described = "table: shop.csv\ndescription: null\nimage_path: picture\nlabels: {color: color}\n"
    (folder / "shop.yaml").write_text(described + "split: split\n" * has_split)
    return Path(f"table:{folder}/shop.yaml")


def test_products_of_one_picture_are_in_one_split_though_no_group_is_named(tmp_path: Path) -> None:
    lines = [f"Shirt {n} size {size},{n}.jpg,red" for n in range(60) for size in range(12)]
    products = load_labelled([_write_table(tmp_path, lines)], ATTRIBUTES)
    assert not _parted(products, products.image_paths)
    assert products.groups.max() == 59 and len(set(products.split)) == 3


def test_products_of_one_text_are_in_one_split_without_groups(tmp_path: Path) -> None:
    spelt = ("Shirt {}", "Shirt  {}", "<b>Shirt</b> {}")
    lines = [f"{one.format(n)},{n}-{at}.jpg,red" for n in range(60) for at, one in enumerate(spelt)]
    products = load_labelled([_write_table(tmp_path, lines)], ATTRIBUTES)
    assert not _parted(products, products.texts) and products.groups.max() == 59


def test_a_product_without_a_group_is_in_that_of_those_which_look_like_it(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", 6, group_id=["z", "y", None, None, None, None])
    table = pd.read_parquet(folder / "products.parquet")
    table["image_path"] = ["1.jpg", "1.jpg", "1.jpg", None, "4.jpg", "5.jpg"]
    table["title"] = ["a", "b", "c", "c", "d", "d"]
    table.to_parquet(folder / "products.parquet")
    assert read_catalogs([folder])[0].groups == ["z", "y", "y", "y", "p4", "p4"]


def test_a_picture_that_stands_in_for_many_makes_no_group(tmp_path: Path) -> None:
    lines = [f"Shirt {n},none.jpg,red" for n in range(60)]
    assert load_labelled([_write_table(tmp_path, lines)], ATTRIBUTES).groups.max() == 59


def test_tests_known_from_training_are_counted_across_groups(
    tmp_path: Path,
) -> None:
    lines = [
        "seen,1.jpg,red,train",
        "other,1.jpg,red,test",
        "seen,2.jpg,red,test",
        "new,3.jpg,red,test",
        ",,red,test",
        ",,red,train",
        "last,3.jpg,red,valid",
    ]
    products = load_labelled([_write_table(tmp_path, lines, has_split=True)], ATTRIBUTES)
    assert count_known_tests(replace(products, groups=np.arange(7))) == 2
    elsewhere = ["a"] + ["b"] * 6
    assert count_known_tests(replace(products, image_roots=elsewhere)) == 1


def test_a_validation_split_is_made_of_published_training_rows(tmp_path: Path) -> None:
    lines = [f"Shirt {n},{n}.jpg,red,{'test' if n % 2 else 'train'}" for n in range(200)]
    split = load_labelled([_write_table(tmp_path, lines, has_split=True)], ATTRIBUTES).split
    assert (split[1::2] == TEST).all() and set(split[0::2]) == {TRAIN, VALIDATION}


def test_a_product_without_a_group_is_a_group_of_its_own(tmp_path: Path) -> None:
    products = load_labelled([_write(tmp_path / "a", 3, group_id=["g", None, None])], ATTRIBUTES)
    assert len(set(products.groups.tolist())) == 3


def test_nulls_are_none_and_never_the_word_nan(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", 2)
    table = pd.read_parquet(folder / "products.parquet")
    table["title"], table["image_path"] = [None, "shirt"], [None, "1.jpg"]
    table.to_parquet(folder / "products.parquet")
    products = load_labelled([folder], ATTRIBUTES)
    assert products.texts == ["", "shirt"] and products.image_paths == [None, "1.jpg"]


def test_what_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"products\.parquet is missing"):
        load_labelled([tmp_path], ATTRIBUTES)
    lacking = _write(tmp_path / "lacking", 2)
    pd.read_parquet(lacking / "labels.parquet").drop(columns="product_id").to_parquet(
        lacking / "labels.parquet"
    )
    with pytest.raises(ConfigError, match=r"labels\.parquet has no column product_id"):
        load_labelled([lacking], ATTRIBUTES)
    with pytest.raises(ConfigError, match="found 0 labelled products"):
        load_labelled([_write(tmp_path / "empty", 0)], ATTRIBUTES)
    twice = _write(tmp_path / "twice", 2)
    labels = pd.read_parquet(twice / "labels.parquet")
    pd.concat([labels, labels]).to_parquet(twice / "labels.parquet")
    with pytest.raises(ConfigError, match=r"labels\.parquet repeats a product"):
        load_labelled([twice], ATTRIBUTES)


def test_a_group_of_the_products_is_no_label(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", 3, group_id=["g", "g", "h"])
    products = pd.read_parquet(folder / "products.parquet").assign(group_id=["x", "y", "z"])
    products.to_parquet(folder / "products.parquet")
    assert _splits_by_group(load_labelled([folder], ATTRIBUTES)).keys() == {0, 1}


def test_a_row_without_an_id_changes_no_other_id(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", 3, product_id=[1, 2, 3])
    products = pd.read_parquet(folder / "products.parquet")
    products["product_id"] = pd.array([1, 2, None], dtype="Int64")
    products.to_parquet(folder / "products.parquet")
    assert load_labelled([folder], ATTRIBUTES).texts == ["shirt 0", "shirt 1"]


def test_a_file_that_is_no_table_is_a_config_error(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", 3)
    (folder / "products.parquet").write_text("product_id,title\n1,shirt\n")
    with pytest.raises(ConfigError, match=f"no Parquet file can be read at {folder}"):
        load_labelled([folder], ATTRIBUTES)


def test_a_catalog_is_named_by_its_folder_from_wherever_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop" / "images"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    given = (Path(".."), tmp_path / "shop", Path("food101:../../shop"))
    assert {name_catalog(catalog) for catalog in given} == {"shop"}
    assert name_catalog(Path()) == "images"
