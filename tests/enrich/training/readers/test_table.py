"""Any table with label columns is read as its description says."""

from pathlib import Path

import pandas as pd
import pytest

from enrich.errors import ConfigError
from enrich.training.readers.rows import Split
from enrich.training.readers.table import read_described_table

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
        (DESCRIPTION.replace("title: name", "title: nmae"), "has no column nmae; it has sku, name"),
        (DESCRIPTION.replace("description: null", ""), "has no column description; it has sku"),
        (DESCRIPTION.replace("usage", "use"), "has no column use"),
        (DESCRIPTION.replace("products.csv", "gone.csv"), "no CSV file can be read at"),
        (DESCRIPTION.replace("title:", "titel:"), "unknown key 'titel'"),
        (DESCRIPTION + "split: usage\n", "has a split 'None' in column usage; wanted: train, "),
        ("table: products.csv\nlabels: {}", "labels"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, description: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_described_table(_write(tmp_path, description))
