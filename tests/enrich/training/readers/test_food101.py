"""UPMC Food-101 is read as it was published."""

from pathlib import Path

import pytest

from enrich.errors import ConfigError
from enrich.training.readers.food101 import read_food101
from enrich.training.readers.rows import Split


def _replace_lines(root: Path, *lines: str) -> Path:
    """Writes a data set that has these lines alone, all of them to train on."""
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


def test_a_title_that_begins_with_a_quotation_mark_takes_no_other_row_along(
    tmp_path: Path,
) -> None:
    rows = read_food101(
        _replace_lines(tmp_path, '1.jpg,"Best" pie,pie', '2.jpg,"Pie,pie', "3.jpg,Tart,tart")
    )
    assert rows.titles == ['"Best" pie', '"Pie', "Tart"]


def test_pictures_of_one_title_are_one_group_but_not_across_classes_or_without_title(
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


def test_what_is_not_the_published_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wanted texts/train_titles\.csv and the folder images"):
        read_food101(tmp_path)
    root = _replace_lines(tmp_path / "short", "1.jpg,Best Pie,pie", "2.jpg,pie")
    with pytest.raises(ConfigError, match=r"train_titles\.csv, row 2 has 2 field"):
        read_food101(root)
