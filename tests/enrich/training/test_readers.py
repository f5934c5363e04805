"""Each layout that training reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from labelled import load_labelled

from enrich.classifiers.manifest import read_manifest
from enrich.errors import ConfigError
from enrich.images.settings import ImageShape
from enrich.settings_files import load_yaml
from enrich.training.config import Phase, TrainingConfig
from enrich.training.labelled import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    join_catalogs,
    read_catalogs,
)
from enrich.training.pixel_cache import cache_pixels
from enrich.training.preparation import with_labels_of
from enrich.training.readers import (
    Split,
    read_catalog_folder,
    read_described_table,
    read_fashion_gen,
    read_food101,
    read_labelled,
)
from enrich.training.run import train_checkpoint

CONF = Path(__file__).parents[3] / "jobs" / "conf"
FOODS = {"class": ("apple pie", "beet salad")}


def test_a_catalog_without_layout_is_a_folder_of_ours(catalog: Path, food101: Path) -> None:
    assert read_labelled(catalog).labels.keys() >= {"color", "pattern", "style"}
    assert read_labelled(Path(f"catalog:{catalog}")).root == catalog
    assert read_labelled(Path(f"food101:{food101}")).labels.keys() == {"class"}


def test_a_folder_with_a_colon_in_its_name_is_a_folder(tmp_path: Path, catalog: Path) -> None:
    (tmp_path / "food101:shop").symlink_to(catalog)
    assert len(read_labelled(tmp_path / "food101:shop")) == len(read_labelled(catalog))


def test_an_unknown_layout_is_refused_with_those_that_are_known(food101: Path) -> None:
    with pytest.raises(ConfigError, match=r"food102.*catalog, food101, fashion_gen, t"):
        read_labelled(Path(f"food102:{food101}"))


def test_a_published_test_split_is_kept_and_validation_comes_out_of_train(food101: Path) -> None:
    products = load_labelled([Path(f"food101:{food101}")], FOODS)
    assert (products.split[60:] == TEST).all() and TEST not in products.split[:60]
    assert 0 < (products.split == VALIDATION).sum() < (products.split == TRAIN).sum()


def test_a_published_validation_split_is_all_there_is(tmp_path: Path) -> None:
    lines = "".join(f"shirt {n},{'valid' if n < 3 else 'train'},red\n" for n in range(100))
    (tmp_path / "a.csv").write_text(f"title,part,color\n{lines}")
    description = "table: a.csv\ndescription: null\nimage_path: null\nsplit: part\n"
    (tmp_path / "a.yaml").write_text(description + "labels: {color: color}")
    split = load_labelled([Path(f"table:{tmp_path}/a.yaml")], {"color": ("red",)}).split
    assert split.tolist() == [VALIDATION] * 3 + [TRAIN] * 97


def test_labels_come_from_the_data_where_the_configuration_says_so(food101: Path) -> None:
    read = read_catalogs([Path(f"food101:{food101}")])
    assert with_labels_of(read, {"class": ()}) == FOODS
    kept = {"class": ("beet salad",), "color": ("red", "blue")}
    assert with_labels_of(read, kept) == kept
    given = {"color": ("red",)}
    assert with_labels_of(read, {"class": ()} | given) == FOODS | given


def test_a_label_that_only_the_test_split_has_is_none(fashion_gen: Path) -> None:
    read = read_catalogs([Path(f"fashion_gen:{fashion_gen}")])
    attributes = with_labels_of(read, {"category": ()})
    assert attributes == {"category": ("BAGS & LUGGAGE", "SHIRTS")}
    products = join_catalogs(read, attributes)
    assert products.targets[:, 0].tolist() == [1, 1, 0, 0, UNLABELLED]


def test_an_attribute_without_labels_in_the_data_is_refused(food101: Path) -> None:
    read = read_catalogs([Path(f"food101:{food101}")])
    with pytest.raises(ConfigError, match=r"0 of 'color'.*The data labels class"):
        with_labels_of(read, {"class": (), "color": ()})


def test_an_optional_attribute_without_labels_is_left_out(
    food101: Path,
) -> None:
    read = read_catalogs([Path(f"food101:{food101}")])
    assert with_labels_of(read, {"class": (), "color": ()}, ["color"]) == FOODS
    with pytest.raises(ConfigError, match="0 of 'size'"):
        with_labels_of(read, {"class": (), "color": (), "size": ()}, ["color"])
    with pytest.raises(ConfigError, match="0 of 'color'"):
        with_labels_of(read, {"color": ()}, ["color"])


def test_rows_know_which_catalog_they_are_of(catalog: Path, food101: Path) -> None:
    ours = len(read_labelled(catalog))
    products = load_labelled([catalog, Path(f"food101:{food101}")], FOODS)
    assert products.catalog.tolist() == [0] * ours + [1] * 70
    assert np.unique(products.image_roots).tolist() == sorted([str(catalog), str(food101)])


@pytest.mark.parametrize("name", ["training_food101.yaml", "training_fashion_gen.yaml"])
def test_the_shipped_configurations_ask_the_data_for_their_labels(name: str) -> None:
    config = load_yaml(CONF / name, TrainingConfig)
    assert config.attributes and not any(config.attributes.values())


def test_food101_is_trained_into_a_checkpoint_of_its_own_classes(
    tmp_path: Path, food101: Path, clip_folder: Path
) -> None:
    shipped = load_yaml(CONF / "training_food101.yaml", TrainingConfig)
    changes: dict[str, Any] = {
        "towers": str(clip_folder),
        "text_length": 16,
        "joint_layers": 1,
        "joint_heads": 2,
        "batch_size": 8,
        "phases": (Phase(loss="multitask", epochs=1, learning_rate=1e-3),),
    }
    catalog = Path(f"food101:{food101}")
    metrics = train_checkpoint(shipped.model_copy(update=changes), [catalog], tmp_path / "made")
    assert metrics is not None
    assert read_manifest(tmp_path / "made").config.attributes == FOODS
    assert metrics["test_groups_UPMC_Food101"]["as is"]["class"]["rows"] == 10
    again = load_yaml(tmp_path / "made" / "training.yaml", TrainingConfig)
    assert again.attributes == FOODS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    products = {
        "product_id": ["a", "b", None, "c"],
        "title": ["A shirt", "A shoe", "No one's", "A hat"],
        "description": None,
        "image_path": ["a.jpg", "b.jpg", "n.jpg", "c.jpg"],
        "season": [1, 2, 3, 4],
        "thumbnail": [b"\xff\xd8", b"\x00", b"", None],
        "embedding": [[0.5, 1.0]] * 4,
    }
    labels = {
        "product_id": ["a", "b", None, "c"],
        "group_id": None,
        "size": pd.array([40, 41, 42, None], dtype="Int64"),
        "is_new": [True, False, True, None],
    }
    pd.DataFrame(products).to_parquet(tmp_path / "products.parquet")
    pd.DataFrame(labels).to_parquet(tmp_path / "labels.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["products.parquet", "labels.parquet"])
def test_a_table_may_be_a_folder_of_parts_as_spark_writes_it(folder: Path, name: str) -> None:
    table = pd.read_parquet(folder / name)
    (folder / name).unlink()
    (folder / name).mkdir()
    (folder / name / "_SUCCESS").touch()
    for part, rows in enumerate((table[:2], table[2:])):
        rows.to_parquet(folder / name / f"part-{part}.parquet")
    assert read_catalog_folder(folder).titles == ["A shirt", "A shoe", "A hat"]


def test_numbers_beside_a_missing_one_stay_whole(folder: Path) -> None:
    assert read_catalog_folder(folder).labels["size"] == ["40", "41", None]


def test_yes_and_no_are_written_as_the_other_readers_write_them(folder: Path) -> None:
    assert read_catalog_folder(folder).labels["is_new"] == ["true", "false", None]


def test_columns_of_bytes_and_lists_are_no_labels(folder: Path) -> None:
    assert set(read_catalog_folder(folder).labels) == {"season", "size", "is_new"}


def test_labels_may_have_a_row_each(folder: Path) -> None:
    rows = [("a", "size", "40"), ("c", "fit", "slim"), ("c", "size", "41")]
    labels = pd.DataFrame(rows, columns=["product_id", "attribute", "label"])
    labels.to_parquet(folder / "labels.parquet")

    read = read_catalog_folder(folder).labels
    assert (read["size"], read["fit"]) == (["40", "41"], [None, "slim"])

    pd.concat([labels, labels[:1]]).to_parquet(folder / "labels.parquet")
    with pytest.raises(ConfigError, match="product 'a' twice"):
        read_catalog_folder(folder)


def test_a_product_whose_group_is_missing_or_blank_is_a_group_of_its_own(folder: Path) -> None:
    labels = {"product_id": ["a", "b", "c"], "group_id": [None, "", " "], "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).groups == ["a", "b", "c"]


def test_without_a_column_of_groups_products_that_look_alike_are_one(folder: Path) -> None:
    products = pd.read_parquet(folder / "products.parquet")
    products["image_path"] = ["a.jpg", "a.jpg", None, "c.jpg"]
    products.to_parquet(folder / "products.parquet")
    labels = pd.read_parquet(folder / "labels.parquet").drop(columns="group_id")
    labels.to_parquet(folder / "labels.parquet")
    rows = read_catalog_folder(folder)
    assert rows.groups == ["a", "a", "c"]
    assert set(rows.labels) == {"season", "size", "is_new"}


def test_blanks_around_a_group_are_none_of_it(folder: Path) -> None:
    labels = {"product_id": ["a", "b", "c"], "group_id": ["7", " 7 ", "8\t"], "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).groups == ["7", "7", "8"]


def test_groups_that_are_written_as_bytes_are_read_all_the_same(folder: Path) -> None:
    labels = {"product_id": ["a", "b", "c"], "group_id": [b"7", b"7", b"8"], "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).groups == ["7", "7", "8"]


def test_a_labelled_product_that_is_there_twice_is_refused(folder: Path) -> None:
    products = pd.read_parquet(folder / "products.parquet")
    one = products.assign(title="Another one")
    pd.concat([products, one[one["product_id"] == "b"]]).to_parquet(folder / "products.parquet")
    with pytest.raises(ConfigError, match=r"products\.parquet repeats a product.*'b'"):
        read_catalog_folder(folder)
    labels = {"product_id": ["a"], "group_id": None, "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).titles == ["A shirt"], "nobody labelled that one"


def test_rows_without_an_id_are_nobodys(folder: Path) -> None:
    assert read_catalog_folder(folder).titles == ["A shirt", "A shoe", "A hat"]


def test_labels_of_products_that_are_not_there_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"product_id": ["a", "x-1", "x-2"], "group_id": None, "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).titles == ["A shirt"]
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("2 of 3 labelled products")
    assert told.endswith("are not in its products.parquet, such as 'x-1', 'x-2'")


CSV = """sku,name,picture,base_colour,usage,part
1,Red shirt,1.jpg,Red,None,train
2,"Blue, plain shirt",2.jpg,Blue,NA,valid
3,,3.jpg,,Casual,test
"""
DESCRIPTION = """
table: products.csv
image_root: photos
title: name
description: null
image_path: picture
labels: {color: base_colour, style: usage}
"""


def _write(folder: Path, description: str = DESCRIPTION, csv: str = CSV) -> Path:
    (folder / "products.csv").write_text(csv)
    (folder / "shop.yaml").write_text(description)
    return folder / "shop.yaml"


def test_columns_of_any_name_become_texts_images_and_labels(tmp_path: Path) -> None:
    rows = read_described_table(_write(tmp_path))
    assert rows.titles == ["Red shirt", "Blue, plain shirt", None]
    assert rows.descriptions == [None] * 3
    assert (rows.root, rows.image_paths) == (tmp_path / "photos", ["1.jpg", "2.jpg", "3.jpg"])
    assert rows.labels["color"] == ["Red", "Blue", None] and rows.split is None


def test_words_that_look_like_nothing_are_labels(tmp_path: Path) -> None:
    assert read_described_table(_write(tmp_path)).labels["style"] == ["None", "NA", "Casual"]


def test_a_parquet_table_with_numbers_and_nulls_is_read_as_text(tmp_path: Path) -> None:
    table = pd.DataFrame({"title": ["a", None], "size": pd.array([40, None], dtype="Int64")})
    table.to_parquet(tmp_path / "products.parquet")
    lines = "table: products.parquet\ndescription: null\nimage_path: null\nlabels: {size: size}"
    rows = read_described_table(_write(tmp_path, lines))
    assert (rows.titles, rows.labels["size"]) == (["a", None], ["40", None])
    assert rows.image_paths == [None, None]


def test_a_published_split_is_kept_under_its_usual_names(tmp_path: Path) -> None:
    rows = read_described_table(_write(tmp_path, DESCRIPTION + "split: part\n"))
    assert rows.split == [Split.TRAIN, Split.VALIDATION, Split.TEST]


def test_rows_without_a_group_are_one_where_their_text_is(tmp_path: Path) -> None:
    lines = ["a,1.jpg,,,x", "a,2.jpg,,,", "a,3.jpg,,,x ", ",4.jpg,,, ", ",5.jpg,,, "]
    csv = "\n".join(["name,picture,base_colour,usage,line", *lines])
    groups = read_described_table(_write(tmp_path, csv=csv)).groups
    assert groups[0] == groups[1] == groups[2] and len(set(groups)) == 3
    groups = read_described_table(_write(tmp_path, DESCRIPTION + "group_id: line\n", csv)).groups
    assert groups[:3] == ["x"] * 3 and len(set(groups)) == 3


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (
            DESCRIPTION.replace("title: name", "title: nmae"),
            "lacks the column nmae: found sku, name",
        ),
        (DESCRIPTION.replace("description: null", ""), "lacks the column description: found sku"),
        (DESCRIPTION.replace("usage", "use"), "lacks the column use"),
        (DESCRIPTION.replace("products.csv", "gone.csv"), "no CSV file can be read at"),
        (DESCRIPTION.replace("title:", "titel:"), "unknown key 'titel'"),
        (DESCRIPTION + "split: usage\n", "column usage: found 'None', expected one of train, "),
        ("table: products.csv\nlabels: {}", "labels"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, description: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_described_table(_write(tmp_path, description))


def _replace_lines(root: Path, *lines: str) -> Path:
    """Write a data set that has these lines alone, all of them to train on."""
    for split in ("train", "test"):
        (root / "images" / split).mkdir(parents=True)
    (root / "texts").mkdir()
    (root / "texts" / "train_titles.csv").write_text("".join(f"{line}\n" for line in lines))
    (root / "texts" / "test_titles.csv").write_text("")
    return root


def test_every_line_of_both_splits_is_a_product(food101: Path) -> None:
    rows = read_food101(food101)
    assert len(rows) == 70
    assert rows.split == [Split.TRAIN] * 60 + [Split.TEST] * 10
    assert rows.labels == {
        "class": (["apple pie"] * 30 + ["beet salad"] * 30) + ["apple pie"] * 5 + ["beet salad"] * 5
    }
    assert rows.titles[60] == "apple pie no. 0, the best | Site"
    assert rows.image_paths[60] == "images/test/apple_pie/apple_pie_0.jpg"
    readable = [(rows.root / str(path)).is_file() for path in rows.image_paths]
    assert readable.count(False) == 1 and not readable[30]


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ('a_0.jpg,"Pie, apple, ""best"" ever",apple_pie', 'Pie, apple, "best" ever'),
        ("a_0.jpg,Pie, apple, best ever,apple_pie", "Pie, apple, best ever"),
        ("a_0.jpg,,apple_pie", ""),
        (" a_0.jpg ,NA, apple_pie ", "NA"),
    ],
)
def test_a_title_keeps_its_commas_whether_quoted_or_not(
    tmp_path: Path, line: str, title: str
) -> None:
    rows = read_food101(_replace_lines(tmp_path, line))
    assert (rows.titles, rows.labels) == ([title], {"class": ["apple pie"]})
    assert rows.image_paths == ["images/train/apple_pie/a_0.jpg"]


def test_a_file_that_begins_with_a_byte_order_mark_keeps_its_first_picture(tmp_path: Path) -> None:
    rows = read_food101(_replace_lines(tmp_path, "\ufeff1.jpg,Pie,pie", "2.jpg,Tart,tart"))
    assert rows.image_paths == ["images/train/pie/1.jpg", "images/train/tart/2.jpg"]


def test_a_title_that_begins_with_a_quotation_mark_ends_in_its_row(
    tmp_path: Path,
) -> None:
    rows = read_food101(
        _replace_lines(tmp_path, '1.jpg,"Best" pie,pie', '2.jpg,"Pie,pie', "3.jpg,Tart,tart")
    )
    assert rows.titles == ['"Best" pie', '"Pie', "Tart"]


def test_pictures_of_one_title_and_class_are_one_group(
    tmp_path: Path,
) -> None:
    groups = read_food101(
        _replace_lines(
            tmp_path, "1.jpg,Best Pie,pie", "2.jpg,best  pie,pie", "3.jpg,Best Pie,tart",
            "4.jpg,,pie", "5.jpg,,pie",
        )
    ).groups  # fmt: skip
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4


def test_what_is_not_food101_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"texts/train_titles\.csv"):
        read_food101(tmp_path)
    root = _replace_lines(tmp_path / "short", "1.jpg,Best Pie,pie", "2.jpg,pie")
    with pytest.raises(ConfigError, match=r"train_titles\.csv, row 2 .* 2 field"):
        read_food101(root)


def test_every_view_of_both_files_is_a_product(fashion_gen: Path) -> None:
    rows = read_fashion_gen(fashion_gen)
    assert rows.titles == ["Wool Shirt"] * 2 + ["Café Bag"] * 2 + ["Tie"]
    assert rows.descriptions[0] == "Chemise légère"
    assert rows.labels["category"] == ["SHIRTS"] * 2 + ["BAGS & LUGGAGE"] * 2 + ["TIES"]
    assert rows.labels["sub_category"][2] == "DUFFLE & TOP HANDLE BAGS"
    assert rows.split == [Split.TRAIN] * 4 + [Split.TEST]


def test_views_of_one_product_are_one_group(fashion_gen: Path) -> None:
    assert read_fashion_gen(fashion_gen).groups == ["7", "7", "8", "8", "9"]


def test_pictures_are_cached_from_inside_the_files(fashion_gen: Path, tmp_path: Path) -> None:
    products = load_labelled([Path(f"fashion_gen:{fashion_gen}")], {"category": ("SHIRTS",)})
    shape = ImageShape(size_px=32, fit="crop", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    images = cache_pixels(products, shape, tmp_path / "cache")
    assert images.has_image.all()
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 10]


def _remove_validation(folder: Path) -> None:
    (folder / "fashiongen_256_256_validation.h5").unlink()


def _damage_train(folder: Path) -> None:
    (folder / "fashiongen_256_256_train.h5").write_bytes(b"no HDF5")


def _write_other(folder: Path) -> None:
    with h5py.File(folder / "fashiongen_256_256_train.h5", "w") as file:
        file["input_image"] = np.zeros((1, 8, 8, 3), dtype=np.uint8)


def _cut_names(folder: Path) -> None:
    with h5py.File(folder / "fashiongen_256_256_train.h5", "a") as file:
        names = file["input_name"][:3]
        del file["input_name"]
        file["input_name"] = names


def _damage_names(folder: Path) -> None:
    train = folder / "fashiongen_256_256_train.h5"
    with h5py.File(train, "a") as file:
        names = file["input_name"][:]
        del file["input_name"]
        place = file.create_dataset("input_name", data=names, compression="gzip", chunks=True)
        chunk = place.id.get_chunk_info(0)
    with train.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\0" * chunk.size)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_cut_names, "'input_name' of .*_train.h5 cannot be read: .* size 3 .* the 4 pictures"),
        (_damage_names, "'input_name' of .*_train.h5 cannot be read: .*"),
        (_remove_validation, r"0 file\(s\) fashiongen_\*_validation\.h5"),
        (_damage_train, "_train.h5 cannot be read"),
        (_write_other, "lacks the data set input_name, .*found input_image"),
    ],
)
def test_what_is_not_fashion_gen_is_refused(
    fashion_gen: Path, break_it: Callable[[Path], None], message: str
) -> None:
    break_it(fashion_gen)
    with pytest.raises(ConfigError, match=message):
        read_fashion_gen(fashion_gen)
