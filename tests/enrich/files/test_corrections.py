"""People's labels are read as the checkpoint writes them, or not at all."""

from pathlib import Path

import pandas as pd
import pytest

from enrich.errors import ConfigError, SchemaMismatch
from enrich.files.corrections import read_correction_file


def _read(folder: Path, given: list[str | None], labels: tuple[str, ...]) -> list[str]:
    table = pd.DataFrame({"product_id": map(str, range(len(given))), "color": given})
    table.to_csv(folder / "labelled.csv", index=False)
    return read_correction_file(folder / "labelled.csv", {"color": labels})["color"].tolist()


def test_case_and_blanks_do_not_count_where_one_label_alone_can_be_meant(tmp_path: Path) -> None:
    given = [" RED", "navy blue ", None, " ", "Olive"]
    labels = ("Red", "Navy Blue", "olive ")
    assert _read(tmp_path, given, labels) == ["Red", "Navy Blue", "olive "]


@pytest.mark.parametrize("name", [" pattern", "Pattern", "PATTERN "])
def test_a_column_that_is_nearly_an_attribute_is_not_passed_over(tmp_path: Path, name: str) -> None:
    file = tmp_path / "labelled.csv"
    file.write_text(f"product_id,color,{name}\n1,red,striped\n")
    with pytest.raises(SchemaMismatch, match=f"a column '{name}'; write 'pattern'"):
        read_correction_file(file, {"color": ["red"], "pattern": ["striped"]})


def test_a_column_beside_its_attribute_s_is_not_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "labelled.csv"
    file.write_text("product_id,color,Color\n1,,blue\n2,red,blue\n")
    with pytest.raises(SchemaMismatch, match="a column 'Color' beside 'color'; rename or remove"):
        read_correction_file(file, {"color": ["red", "blue"]})


def test_labels_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    assert _read(tmp_path, ["Blue", "blue", "RED"], ("Blue", "blue", "red")) == [
        "Blue",
        "blue",
        "red",
    ]
    with pytest.raises(ConfigError, match="no color"):
        _read(tmp_path, ["BLUE"], ("Blue", "blue", "red"))


@pytest.mark.parametrize("nobody", ["", "  "])
def test_a_label_of_no_product_is_refused(tmp_path: Path, nobody: str) -> None:
    file = tmp_path / "labelled.csv"
    file.write_text(f"product_id,color\n7,red\n{nobody},blue\n{nobody},\n")
    with pytest.raises(ConfigError, match="1 rows have a label and no product_id"):
        read_correction_file(file, {"color": ["red", "blue"]})


def test_a_gap_in_the_json_of_a_pandas_frame_corrects_nothing(tmp_path: Path) -> None:
    file = tmp_path / "labelled.json"
    file.write_text('{"product_id": 7.0, "color": "red"}\n{"product_id": 8.0, "color": NaN}\n')
    rows = read_correction_file(file, {"color": ["red", "blue"]})
    assert rows.to_dict("records") == [{"product_id": "7", "color": "red"}]


def test_an_id_in_which_bytes_were_replaced_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labelled.csv"
    file.write_text("product_id,color\n\u00c41,red\n\u00d61,\n", "cp1252")
    with pytest.raises(ConfigError, match="not in UTF-8: product_id '\ufffd1' holds bytes"):
        read_correction_file(file, {"color": ["red", "blue"]})
