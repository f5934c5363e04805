"""Labelled products: numbers, groups and splits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled import load_labelled, write_folder, write_table

from enrich.errors import ConfigError
from enrich.training.labelled import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    count_known_tests,
    divide,
    join_catalogs,
    name_catalog,
    read_catalogs,
    tell_unlisted,
)

ATTRIBUTES = {"color": ("red", "blue"), "fit": ("slim", "wide")}


def _parted(products, names):
    """Return those of the names, one a product, that are in more than one split."""
    pairs = {*zip(names, products.split.tolist(), strict=True)}
    found = [name for name, _ in pairs]
    return {name for name in found if found.count(name) > 1}


def test_a_group_never_straddles_splits(tmp_path):
    groups = [f"g{number % 400}" for number in range(2_000)]
    products = load_labelled([write_folder(tmp_path / "a", 2_000, group_id=groups)], ATTRIBUTES)
    assert len(set(products.groups)) == 400 and not _parted(products, products.groups.tolist())
    shares = np.bincount(products.split, minlength=3) / len(products)
    assert shares[[TRAIN, VALIDATION, TEST]] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)


def test_a_group_falls_into_the_same_split_whatever_else_is_read(tmp_path):
    few = load_labelled([write_folder(tmp_path / "few", 50)], ATTRIBUTES)
    many = load_labelled([write_folder(tmp_path / "other", 80), tmp_path / "few"], ATTRIBUTES)
    assert many.split[80:].tolist() == few.split.tolist()
    assert many.half[80:].tolist() == few.half.tolist() and set(few.half) == {0, 1}
    # As earlier versions had it: else a checkpoint of theirs is tested on what it was trained on.
    assert np.flatnonzero(few.split[:40] == TEST).tolist() == [5, 8, 20, 26, 34, 37]
    assert np.flatnonzero(few.split[:40] == VALIDATION).tolist() == [11, 17, 31]


def test_a_published_validation_split_is_kept_or_made_of_training_rows(tmp_path):
    def split(names):
        lines = "".join(f"shirt {n},{name},red\n" for n, name in enumerate(names))
        catalog = write_table(tmp_path, f"title,part,color\n{lines}", split="part")
        return load_labelled([catalog], ATTRIBUTES).split

    found = split(["train", "test"] * 100)
    assert (found[1::2] == TEST).all() and set(found[0::2]) == {TRAIN, VALIDATION}
    published = split(["valid"] * 3 + ["train"] * 97)
    assert published.tolist() == [VALIDATION] * 3 + [TRAIN] * 97


@pytest.mark.parametrize(
    ("colors", "listed", "targets", "unlisted"),
    [
        (["red", "blue", "mauve", None], ("red", "blue"), [0, 1, None, None], ["mauve"]),
        (["red ", "\tblue", " ", ""], ("red", "blue"), [0, 1, None, None], []),
        (["red ", "blue"], ("red ", "blue"), [0, 1], []),
        (["RED", "Blue", "red"], ("red", "blue"), [0, 1, 0], []),
        # Without one that is spelt so, capitals do not matter; where two could be meant, they do.
        (["SLIM", "Slim", "slim"], ("slim", "Slim"), [None, 1, 0], ["SLIM"]),
        (["Gr\u00fcn", "Gru\u0308n"], ("Gru\u0308n",), [0, 0], []),
        (["dark  blue", "dark blue"], ("dark blue",), [0, 0], []),
        (["102", "10\u00b2"], ("102", "10\u00b2"), [0, 1], []),
    ],
)
def test_labels_are_read_as_they_are_listed(tmp_path, colors, listed, targets, unlisted, capsys):
    read = read_catalogs([write_folder(tmp_path, len(colors), color=colors)])
    found = join_catalogs(read, {"color": listed}).targets[:, 0]
    assert found.tolist() == [UNLABELLED if one is None else one for one in targets]
    tell_unlisted(read, {"color": listed}, "the shop")
    said = capsys.readouterr().err
    assert f"{len(unlisted)} products of the shop" in said if unlisted else not said


def test_catalogs_keep_their_own_attributes_images_and_groups(tmp_path):
    one = write_folder(tmp_path / "one", 2, group_id=["1", "1"])
    other = write_folder(tmp_path / "other", 2, group_id=["1", "2"], fit=["wide", "slim"])
    products = load_labelled([one, other], ATTRIBUTES)
    assert products.targets[:, 1].tolist() == [UNLABELLED, UNLABELLED, 1, 0]
    assert products.image_roots == [str(one)] * 2 + [str(other)] * 2
    assert (products.catalog.tolist(), products.groups.tolist()) == ([0, 0, 1, 1], [0, 0, 1, 2])


def test_rows_join_by_id_and_not_by_place(tmp_path):
    labels = {"product_id": ["p2", "p0"], "group_id": ["x", "y"], "color": ["blue", "red"]}
    products = load_labelled([write_folder(tmp_path, 3, **labels)], ATTRIBUTES)
    assert products.texts == ["shirt 0", "shirt 2"]
    assert products.targets[:, 0].tolist() == [0, 1]


def test_ids_and_groups_may_be_integers_beside_a_row_without_one(tmp_path):
    ids = {"product_id": pd.array([1, 2, None], dtype="Int64")}
    folder = write_folder(tmp_path, 3, ids, product_id=[1, 2, 3], group_id=[7, 7, 8])
    products = load_labelled([folder], ATTRIBUTES)
    assert products.texts == ["shirt 0", "shirt 1"] and products.groups.tolist() == [0, 0]


def test_products_that_look_alike_are_in_one_split_though_no_group_is_named(tmp_path):
    spelt = ("Shirt {}", "Shirt  {}", "<b>Shirt</b> {}")
    by_text = [f"{one.format(n)},{n}-{at}.jpg" for n in range(60) for at, one in enumerate(spelt)]
    by_picture = [f"Shirt {n} size {size},{n}.jpg" for n in range(60) for size in range(12)]
    for lines, column in ((by_text, "texts"), (by_picture, "image_paths")):
        csv = "\n".join(["title,picture,color", *(f"{line},red" for line in lines)])
        products = load_labelled([write_table(tmp_path, csv, image_path="picture")], ATTRIBUTES)
        assert not _parted(products, getattr(products, column))
        assert products.groups.max() == 59 and len(set(products.split)) == 3


@pytest.mark.parametrize(
    ("changed", "group_id", "groups"),
    [
        (
            {
                "image_path": ["1.jpg", "1.jpg", "1.jpg", None, "4.jpg", "5.jpg"],
                "title": ["a", "b", "c", "c", "d", "d"],
            },
            ["z", "y", None, None, None, None],
            ["z", "y", "y", "y", "p4", "p4"],
        ),
        ({}, ["g", None, "", " ", " g\t", "h"], ["g", "p1", "p2", "p3", "g", "h"]),
        ({}, [b"7", b"7", b"8", b"8", b"8", b"8"], ["7", "7", "8", "8", "8", "8"]),
        # A group of the products is not one of the labels.
        ({"group_id": [*"uvwxyz"]}, ["g"] * 6, ["g"] * 6),
    ],
)
def test_a_product_without_a_group_is_in_that_of_those_which_look_like_it(
    tmp_path, changed, group_id, groups
):
    folder = write_folder(tmp_path, 6, changed, group_id=group_id)
    assert read_catalogs([folder])[0].groups == groups


def test_copies_of_a_picture_under_other_names_are_in_one_group(tmp_path):
    folder = write_folder(tmp_path, 4, group_id=None)
    for name, content in (("0.jpg", b"one"), ("1.jpg", b"two"), ("2.jpg", b"one")):
        (folder / name).write_bytes(content)
    assert read_catalogs([folder])[0].groups == ["p0", "p1", "p0", "p3"]


def test_tests_known_from_training_are_counted_across_groups(tmp_path):
    csv = """title,picture,color,split
seen,1.jpg,red,train
other,1.jpg,red,test
seen,2.jpg,red,test
new,3.jpg,red,test
,,red,test
,,red,train
last,3.jpg,red,valid
"""
    catalog = write_table(tmp_path, csv, image_path="picture", split="split")
    products = load_labelled([catalog], ATTRIBUTES)
    alone = replace(products, groups=np.arange(7))
    assert count_known_tests(alone) == 2
    assert count_known_tests(replace(alone, image_roots=["a"] + ["b"] * 6)) == 1
    assert count_known_tests(replace(alone, groups=np.array([0, 1, 2, 0, 4, 5, 6]))) == 3


def test_nulls_are_none_and_never_the_word_nan(tmp_path):
    shown = {"title": [None, "shirt"], "image_path": [None, "1.jpg"]}
    products = load_labelled([write_folder(tmp_path, 2, shown)], ATTRIBUTES)
    assert products.texts == ["", "shirt"] and products.image_paths == [None, "1.jpg"]


def _drop_ids(folder):
    write_folder(folder, 2)
    pd.DataFrame({"color": ["red"]}).to_parquet(folder / "labels.parquet")


def _write_text(folder):
    (write_folder(folder, 2) / "products.parquet").write_text("product_id,title\n1,shirt\n")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, r"products\.parquet is missing"),
        (_drop_ids, r"labels\.parquet has no column product_id"),
        (lambda folder: write_folder(folder, 0), "found 0 labelled products"),
        (
            lambda folder: write_folder(folder, 2, product_id=["p0", "p0"]),
            r"labels\.parquet .* more than one row",
        ),
        (_write_text, "no Parquet file can be read at"),
    ],
)
def test_what_cannot_be_read_is_a_config_error(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_labelled([tmp_path], ATTRIBUTES)


def test_a_catalog_is_named_by_its_folder_from_wherever_it_is_given(tmp_path, monkeypatch):
    folder = tmp_path / "shop" / "images"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    given = (Path(".."), tmp_path / "shop", Path("table:../../shop"))
    assert {name_catalog(catalog) for catalog in given} == {"shop"}
    assert name_catalog(Path()) == "images"


def test_kinds_left_out_take_their_groups_with_them_and_must_be_there(tmp_path):
    groups = {"group_id": ["a", "b", "a", "c"]}
    kinds = {"kind": ["shoe", "shoe", "shirt", "shirt"]}
    read = read_catalogs([write_folder(tmp_path / "shop", 4, kinds, **groups)])
    ((kept,), (left_out,)) = divide(read, {"kind": ("shoe",)})
    assert kept.titles == ["shirt 2", "shirt 3"]
    # The shoe of group a is nearly a shirt that stays.
    assert left_out.titles == ["shirt 1"]
    assert [len(one) for one in divide(read, {})[0]] == [4]
    with pytest.raises(ConfigError, match="found 0 products with kind: hat, expected"):
        divide(read, {"kind": ("shoe", "hat")})
    with pytest.raises(ConfigError, match="found 0 products with kin: shoe, expected"):
        divide(read, {"kind": ("shoe",), "kin": ("shoe",)})
