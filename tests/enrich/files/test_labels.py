"""People's labels are read as the checkpoint writes them, or not at all."""

import pandas as pd
import pytest

from enrich.errors import ConfigError, SchemaMismatch
from enrich.files.labels import read_labels


def _read(folder, given, labels):
    table = pd.DataFrame({"product_id": map(str, range(len(given))), "color": given})
    table.to_csv(folder / "labelled.csv", index=False)
    return read_labels(folder / "labelled.csv", {"color": labels})["label"].tolist()


def test_case_and_blanks_do_not_count_where_one_label_alone_can_be_meant(tmp_path):
    given = [" RED", "navy blue ", None, " ", "Olive"]
    labels = ("Red", "Navy Blue", "olive ")
    assert _read(tmp_path, given, labels) == ["Red", "Navy Blue", "olive "]


LABELS = {"color": ["red", "blue"], "pattern": ["striped"]}


def read_text(folder, *lines):
    file = folder / "labels.csv"
    file.write_text("\n".join([*lines, ""]))
    return read_labels(file, LABELS)


def test_a_row_a_label_and_a_column_an_attribute_say_the_same(tmp_path):
    long = read_text(
        tmp_path,
        "product_id,attribute,label,by,at",
        "1,color,Red,ana,2026-11-24T09:30:00Z",
        "2,color,,ana,2026-11-24T09:31:00Z",
        "3,Pattern,not_applicable,,",
        "2,color,other,ben,2026-11-24 10:31:00.1234567+01:00",
    )
    wide = read_text(
        tmp_path, "product_id,title,color,pattern", "1,a,red,", "3,,,Not_Applicable", "2,,other,"
    )

    said = ["product_id", "attribute", "label"]
    assert long[said].values.tolist() == [
        ["1", "color", "red"],
        ["3", "pattern", "not_applicable"],
        ["2", "color", "other"],
    ]
    assert sorted(wide[said].values.tolist()) == sorted(long[said].values.tolist())
    assert long["by"].tolist() == ["ana", None, "ben"]
    assert long["at"].dropna().dt.strftime("%H:%M").tolist() == ["09:30", "09:31"]
    last = long["at"].iloc[-1]
    assert (last.microsecond, last.nanosecond) == (123_456, 0), "as tables keep it"
    assert wide["by"].isna().all() and wide["at"].isna().all()


def test_ids_that_a_spreadsheet_took_for_formulas_are_read_from_compressed_files_too(tmp_path):
    table = pd.DataFrame({"product_id": ["'=7"], "attribute": ["color"], "label": ["red"]})
    table.to_csv(tmp_path / "labels.csv.gz", index=False)
    assert read_labels(tmp_path / "labels.csv.gz", LABELS)["product_id"].tolist() == ["=7"]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("product_id,colour", "colour"),
        ("product_id,color,Pattern", "Pattern"),
        ("product_id,color, pattern", " pattern"),
        ("product_id,attribute,label,remark", "remark"),
        ("product_id,attribute,color", "attribute"),
        ("product_id,title", "product_id, title"),
    ],
)
def test_an_unknown_column_is_refused_with_what_there_is(tmp_path, header, found):
    with pytest.raises(SchemaMismatch) as refusal:
        read_text(tmp_path, header, "1")
    assert found in str(refusal.value)
    assert "attribute, label, by, at" in str(refusal.value)
    assert "color, pattern" in str(refusal.value)


def test_a_spreadsheet_s_semicolons_are_named(tmp_path):
    with pytest.raises(SchemaMismatch, match="found semicolons"):
        read_text(tmp_path, "product_id;color", "1;red")


@pytest.mark.parametrize(
    ("row", "listed"),
    [
        ("1,color,mauve,", "red, blue, not_applicable, other"),
        ("1,colour,red,", "color, pattern"),
        ("1,color,red,yesterday", "2026-11-24T09:30:00Z"),
    ],
)
def test_an_unknown_attribute_label_or_time_is_refused_with_what_there_is(tmp_path, row, listed):
    with pytest.raises(ConfigError, match=listed):
        read_text(tmp_path, "product_id,attribute,label,at", row)


def test_an_attribute_of_a_product_is_labelled_once(tmp_path):
    lines = ["product_id,attribute,label", "1,color,red", "1,pattern,striped", "1,color,blue"]
    assert len(read_text(tmp_path, *lines[:3])) == 2
    with pytest.raises(ConfigError, match="product '1' twice"):
        read_text(tmp_path, *lines)


def test_labels_that_differ_in_case_alone_are_told_apart(tmp_path):
    assert _read(tmp_path, ["Blue", "blue", "RED"], ("Blue", "blue", "red")) == [
        "Blue",
        "blue",
        "red",
    ]
    with pytest.raises(ConfigError, match="color is unknown"):
        _read(tmp_path, ["BLUE"], ("Blue", "blue", "red"))


@pytest.mark.parametrize("nobody", ["", "  "])
def test_a_label_of_no_product_is_refused(tmp_path, nobody):
    file = tmp_path / "labelled.csv"
    file.write_text(f"product_id,color\n7,red\n{nobody},blue\n{nobody},\n")
    with pytest.raises(ConfigError, match="found 1 labels without product_id"):
        read_labels(file, {"color": ["red", "blue"]})


def test_a_label_from_the_future_is_refused(tmp_path):
    file = tmp_path / "labelled.csv"
    file.write_text("product_id,attribute,label,at\n7,color,red,2199-01-01T00:00:00Z\n")
    with pytest.raises(ConfigError, match="lies in the future"):
        read_labels(file, {"color": ["red", "blue"]})


def test_a_gap_in_the_json_of_a_pandas_frame_corrects_nothing(tmp_path):
    file = tmp_path / "labelled.json"
    file.write_text('{"product_id": 7.0, "color": "red"}\n{"product_id": 8.0, "color": NaN}\n')
    rows = read_labels(file, {"color": ["red", "blue"]})
    assert rows[["product_id", "label"]].values.tolist() == [["7", "red"]]


def test_an_id_in_which_bytes_were_replaced_is_refused(tmp_path):
    file = tmp_path / "labelled.csv"
    file.write_text("product_id,color\n\u00c41,red\n\u00d61,\n", "cp1252")
    with pytest.raises(ConfigError, match="not in UTF-8: found product_id '\ufffd1'"):
        read_labels(file, {"color": ["red", "blue"]})
