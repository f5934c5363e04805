"""Each layout that training reads, and groups of products that share a text or a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from labelled import write_folder, write_table

from enrich.classifiers.manifest import read_manifest
from enrich.errors import ConfigError
from enrich.settings_files import load_yaml
from enrich.training.config import Phase, TrainingConfig
from enrich.training.labelled import UNLABELLED, join_catalogs, read_catalogs
from enrich.training.preparation import with_labels_of
from enrich.training.readers import Split, group_near_identical, read_labelled
from enrich.training.run import train_checkpoint

CONF = Path(__file__).parents[3] / "jobs" / "conf"
FOODS = {"class": ("apple pie", "beet salad")}


def test_a_catalog_is_a_folder_of_ours_or_names_its_layout(catalog, foods, tmp_path):
    assert read_labelled(catalog).labels.keys() >= {"color", "pattern", "style"}
    assert read_labelled(Path(f"catalog:{catalog}")).root == catalog
    assert read_labelled(foods).labels.keys() == {"class"}
    (tmp_path / "table:shop").symlink_to(catalog)
    assert len(read_labelled(tmp_path / "table:shop")) == len(read_labelled(catalog))
    with pytest.raises(ConfigError, match=r"tables:.*catalog, table"):
        read_labelled(Path(f"tables:{tmp_path}"))


@pytest.mark.parametrize(
    ("attributes", "optional", "found"),
    [
        ({"class": ()}, [], FOODS),
        ({"class": (), "color": ("red",)}, [], FOODS | {"color": ("red",)}),
        (
            {"class": ("beet salad",), "color": ("red", "blue")},
            [],
            {"class": ("beet salad",), "color": ("red", "blue")},
        ),
        ({"class": (), "color": ()}, ["color"], FOODS),
        ({"class": (), "color": ()}, [], r"0 of 'color'.*The data labels class"),
        ({"class": (), "color": (), "size": ()}, ["color"], "0 of 'size'"),
        ({"color": ()}, ["color"], "0 of 'color'"),
    ],
)
def test_labels_come_from_the_data_where_the_configuration_says_so(
    foods, attributes, optional, found
):
    read = read_catalogs([foods])
    if isinstance(found, dict):
        assert with_labels_of(read, attributes, optional) == found
    else:
        with pytest.raises(ConfigError, match=found):
            with_labels_of(read, attributes, optional)


def test_labels_of_the_data_that_look_the_same_are_one(tmp_path):
    colors = ["Gr\u00fcn", "Gru\u0308n", "dark  blue", "dark blue"] * 15 + ["Dark Blue"] * 20
    read = read_catalogs([write_folder(tmp_path, 80, color=colors)])
    assert with_labels_of(read, {"color": ()}) == {"color": ("Gr\u00fcn", "dark blue")}


def test_reserved_labels_of_the_data_are_not_learnt(tmp_path):
    colors = ["red", "blue", "not_applicable", "Other"] * 5
    read = read_catalogs([write_folder(tmp_path, 20, color=colors)])
    assert with_labels_of(read, {"color": ()}) == {"color": ("blue", "red")}


def test_a_label_that_only_the_test_split_has_is_none(tmp_path):
    csv = "title,color,part\na,red,train\nb,blue,train\nc,green,test\n"
    read = read_catalogs([write_table(tmp_path, csv, split="part")])
    attributes = with_labels_of(read, {"color": ()})
    assert attributes == {"color": ("blue", "red")}
    assert join_catalogs(read, attributes).targets[:, 0].tolist() == [1, 0, UNLABELLED]


def test_a_table_is_trained_into_a_checkpoint_of_its_own_classes(tmp_path, foods, clip_folder):
    shipped = load_yaml(CONF / "training_food101.yaml", TrainingConfig)
    changes: dict[str, Any] = {
        "towers": str(clip_folder),
        "text_length": 16,
        "joint_layers": 1,
        "joint_heads": 2,
        "batch_size": 8,
        "phases": (Phase(loss="multitask", epochs=1, learning_rate=1e-3),),
    }
    metrics = train_checkpoint(shipped.model_copy(update=changes), [foods], tmp_path / "made")
    assert metrics is not None
    assert read_manifest(tmp_path / "made").config.attributes == FOODS
    assert metrics["test_groups_foods.yaml"]["as is"]["class"]["rows"] == 10
    again = load_yaml(tmp_path / "made" / "training.yaml", TrainingConfig)
    assert again.attributes == FOODS


@pytest.fixture
def folder(tmp_path):
    """A catalog with a row without an id, and columns of all kinds."""
    products = {
        "product_id": ["a", "b", None, "c"],
        "title": ["A shirt", "A shoe", "No one's", "A hat"],
        "season": [1, 2, 3, 4],
        "thumbnail": [b"\xff\xd8", b"\x00", b"", None],
        "embedding": [[0.5, 1.0]] * 4,
    }
    labels = {
        "product_id": ["a", "b", None, "c"],
        "group_id": None,
        "color": pd.array([40, 41, 42, None], dtype="Int64"),
        "is_new": [True, False, True, None],
    }
    return write_folder(tmp_path, 4, products, **labels)


def test_a_row_is_a_product_with_an_id_and_plain_columns_are_labels(folder):
    rows = read_labelled(folder)
    assert rows.titles == ["A shirt", "A shoe", "A hat"]
    assert rows.labels == {
        "season": ["1", "2", "4"],
        "color": ["40", "41", None],
        "is_new": ["true", "false", None],
    }


def test_columns_of_labels_for_people_are_no_attributes(folder):
    about = {"title": "other", "image_path": "x.jpg", "note": "?", "by": "me", "at": "2026-11-24"}
    labels = pd.DataFrame({"product_id": ["a", "b"], "color": "red"} | about)
    labels.to_parquet(folder / "labels.parquet")
    read = read_labelled(folder)
    assert read.titles == ["A shirt", "A shoe"]
    assert read.labels == {"season": ["1", "2"], "color": ["red", "red"]}


@pytest.mark.parametrize("name", ["products.parquet", "labels.parquet"])
def test_a_table_may_be_a_folder_of_parts_as_spark_writes_it(folder, name):
    table = pd.read_parquet(folder / name)
    (folder / name).unlink()
    (folder / name).mkdir()
    (folder / name / "_SUCCESS").touch()
    for part, rows in enumerate((table[:2], table[2:])):
        rows.to_parquet(folder / name / f"part-{part}.parquet")
    assert read_labelled(folder).titles == ["A shirt", "A shoe", "A hat"]


def test_labels_may_have_a_row_each(folder):
    rows = [("a", "size", "40"), ("c", "fit", "slim"), ("c", "size", "41")]
    labels = pd.DataFrame(rows, columns=["product_id", "attribute", "label"])
    labels.to_parquet(folder / "labels.parquet")
    read = read_labelled(folder).labels
    assert (read["size"], read["fit"]) == (["40", "41"], [None, "slim"])

    pd.concat([labels, labels[:1]]).to_parquet(folder / "labels.parquet")
    with pytest.raises(ConfigError, match="product 'a': found more than one label"):
        read_labelled(folder)


def test_labels_of_a_row_each_keep_the_groups_of_their_products(folder):
    columns = ["product_id", "attribute", "label", "group_id"]
    rows = [("a", "fit", "slim", "7"), ("a", "size", "40", None), ("c", "fit", "wide", None)]
    labels = pd.DataFrame(rows, columns=columns)
    labels.to_parquet(folder / "labels.parquet")
    read = read_labelled(folder)
    assert read.groups == ["7", "c"] and read.labels["size"] == ["40", None]

    labels.assign(group_id=["7", "8", "9"]).to_parquet(folder / "labels.parquet")
    with pytest.raises(ConfigError, match="'a': found more than one group_id"):
        read_labelled(folder)


def test_a_labelled_product_that_is_there_twice_is_refused(folder):
    products = pd.read_parquet(folder / "products.parquet")
    pd.concat([products, products[1:2]]).to_parquet(folder / "products.parquet")
    with pytest.raises(ConfigError, match=r"products\.parquet .*'b': found more than one row"):
        read_labelled(folder)
    pd.DataFrame({"product_id": ["a"], "size": "40"}).to_parquet(folder / "labels.parquet")
    assert read_labelled(folder).titles == ["A shirt"], "nobody labelled the other"


def test_labels_of_products_that_are_not_there_are_told(folder, capsys):
    labels = {"product_id": ["a", "x-1", "x-2"], "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_labelled(folder).titles == ["A shirt"]
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("2 of 3 labelled products") and told.endswith("such as 'x-1', 'x-2'")


CSV = """sku,name,picture,base_colour,usage,part
1,Red shirt,1.jpg,Red,None,train
2,"Blue, plain shirt",2.jpg,Blue,NA,valid
3,,3.jpg,,Casual,test
"""
LABELS = {"color": "base_colour", "style": "usage"}
SHOP = {"title": "name", "image_path": "picture", "image_root": "photos", "labels": LABELS}


def test_columns_of_any_name_become_texts_images_labels_and_split(tmp_path):
    rows = read_labelled(write_table(tmp_path, CSV, **SHOP, split="part"))
    assert rows.titles == ["Red shirt", "Blue, plain shirt", None]
    assert rows.descriptions == [None] * 3
    assert (rows.root, rows.image_paths) == (tmp_path / "photos", ["1.jpg", "2.jpg", "3.jpg"])
    # Words that look like nothing are labels.
    assert rows.labels == {"color": ["Red", "Blue", None], "style": ["None", "NA", "Casual"]}
    assert rows.split == [Split.TRAIN, Split.VALIDATION, Split.TEST]
    assert read_labelled(write_table(tmp_path, CSV, **SHOP)).split is None


def test_a_parquet_table_with_numbers_and_nulls_is_read_as_text(tmp_path):
    table = pd.DataFrame({"title": ["a", None], "size": pd.array([40, None], dtype="Int64")})
    table.to_parquet(tmp_path / "products.parquet")
    described = {"table": "products.parquet", "labels": {"size": "size"}}
    rows = read_labelled(write_table(tmp_path, "", **described))
    assert (rows.titles, rows.labels["size"]) == (["a", None], ["40", None])
    assert rows.image_paths == [None, None]


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"title": "nmae"}, "lacks the column nmae: found sku, name"),
        ({"description": "description"}, "lacks the column description: found sku"),
        ({"labels": LABELS | {"style": "use"}}, "lacks the column use"),
        ({"table": "gone.csv"}, "no CSV file can be read at"),
        ({"titel": "name"}, "unknown key 'titel'"),
        ({"split": "usage"}, "column usage: found 'None', expected one of train, "),
        ({"labels": {}}, "labels"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, described, message):
    with pytest.raises(ConfigError, match=message):
        read_labelled(write_table(tmp_path, CSV, **(SHOP | described)))


def test_groups_are_numbered_by_their_first_products_and_blanks_name_none():
    texts = ["a", "b", "c", "b", "", "", ""]
    pictures = ["1", "2", None, "1", " ", None, " "]
    assert group_near_identical(texts, pictures, 5).tolist() == [0, 0, 1, 0, 2, 3, 4]
    assert group_near_identical([], [], 5).tolist() == []


def test_a_picture_counts_by_how_many_different_texts_it_has():
    assert group_near_identical(["a", "b", "b", "c"], ["1"] * 4, 3).tolist() == [0] * 4
    assert group_near_identical(["a", "b", "b", "c"], ["1"] * 4, 2).tolist() == [0, 1, 1, 2]


def test_a_long_chain_is_one_group_and_found_at_once():
    links = np.random.default_rng(0).permutation(100_000)
    texts, pictures = [[str(n) for n in (links + more) // 2] for more in (0, 1)]
    assert not group_near_identical(texts, pictures, 5).any()
