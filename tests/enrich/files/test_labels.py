"""One format of labels: what is read, and what is refused with a list of what there is."""

from pathlib import Path

import pandas as pd
import pytest

from enrich.errors import ConfigError, SchemaMismatch
from enrich.files.labels import read_labels

LABELS = {"color": ("red", "Navy Blue"), "pattern": ("solid", "other")}


def read(folder: Path, *lines: str, header: str = "product_id,attribute,label") -> pd.DataFrame:
    file = folder / "audit.csv"
    file.write_text("\n".join([header, *lines, ""]))
    return read_labels(file, LABELS, ignored=("title", "image_path"))


def test_labels_are_read_as_the_label_sets_write_them(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        "007,color, navy blue,a shirt,ana,2026-11-30T14:05:00+01:00",
        "007,Pattern,NOT_APPLICABLE,a shirt,,",
        "'=8,color,,a hat,,",
        "9,color,other,a bag,,",
        header="product_id,attribute,label,title,by,at",
    )
    assert rows["product_id"].tolist() == ["007", "007", "=8", "9"]
    assert rows["attribute"].tolist() == ["color", "pattern", "color", "color"]
    labels = [None if pd.isna(label) else label for label in rows["label"]]
    assert labels == ["Navy Blue", "not_applicable", None, "other"]
    assert rows["by"].dropna().tolist() == ["ana"]
    assert rows["at"].dropna().tolist() == [pd.Timestamp("2026-11-30T13:05Z")]


def test_a_file_without_times_has_none(tmp_path: Path) -> None:
    rows = read(tmp_path, "7,color,red")
    assert rows["at"].isna().all() and rows["by"].isna().all()
    assert rows["at"].dt.tz is not None


@pytest.mark.parametrize(
    ("header", "line", "named"),
    [
        ("product_id,attribute,label,colour", "7,color,red,red", ("colour", "label", "title")),
        ("product_id,attribute", "7,color", ("label",)),
    ],
)
def test_unknown_and_missing_columns_are_refused_by_name(
    tmp_path: Path, header: str, line: str, named: tuple[str, ...]
) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        read(tmp_path, line, header=header)
    assert all(name in str(refused.value) for name in named)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["7,color,blurple"], ("blurple", "red", "Navy Blue", "not_applicable")),
        (["7,shape,red"], ("shape", "color", "pattern")),
        (["7,color,red", "7,color,"], ("7 color",)),
        ([",color,red"], ("product_id",)),
    ],
)
def test_labels_that_nothing_can_be_made_of_are_refused(
    tmp_path: Path, lines: list[str], named: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, *lines)
    assert all(name in str(refused.value) for name in named)


def test_times_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="yesterday"):
        read(tmp_path, "7,color,red,yesterday", header="product_id,attribute,label,at")
