"""Columns of a file come as text, whatever wrote the file."""

from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from enrich.errors import ConfigError, SchemaMismatch
from enrich.files.tables import guard, read_table, select_text, unguard


def _unchecked(values):
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), null_count=raw.null_count)


def test_bytes_that_are_no_utf8_become_replacement_characters_and_nothing_else_changes(tmp_path):
    file = tmp_path / "products.parquet"
    titles = _unchecked([b"red shirt", b"caf\xe9", None, b"\xed\xa0\x80", "h\u00fcte".encode()])
    pq.write_table(pa.table({"title": titles, "product_id": [1, 2, 3, 4, 5]}), file)
    read = select_text(read_table(file), ["title", "product_id"], file).to_pydict()
    assert read["title"] == ["red shirt", "caf\ufffd", None, "\ufffd" * 3, "h\u00fcte"]
    assert read["product_id"] == ["1", "2", "3", "4", "5"]


def test_whole_numbers_among_floats_are_text_as_such_and_nan_is_a_gap(tmp_path):
    file = tmp_path / "products.parquet"
    ids = pa.array([4006381333931.0, float("nan"), 7.0, None, 1.5, float("inf"), 2.0**60, -3.0])
    pq.write_table(pa.table({"product_id": ids, "text": pa.nulls(8, pa.float32())}), file)
    read = select_text(read_table(file), ["product_id", "text"], file).to_pydict()
    assert read["product_id"] == [
        *("4006381333931", None, "7", None, "1.5", "inf", "1152921504606846976", "-3")
    ]
    assert read["text"] == [None] * 8


def test_fractions_are_written_as_precisely_as_they_are_kept(tmp_path):
    file = tmp_path / "products.parquet"
    pq.write_table(pa.table({"product_id": pa.array([1.1, 0.3, 7.0], pa.float32())}), file)
    read = select_text(read_table(file), ["product_id"], file).to_pydict()
    assert read["product_id"] == ["1.1", "0.3", "7"]


def test_a_column_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "products.parquet"
    pq.write_table(pa.table({"product_id": ["1"], "sizes": [["S", "M"]]}), file)
    with pytest.raises(SchemaMismatch, match="column sizes cannot be read as text"):
        select_text(read_table(file), ["product_id", "sizes"], file)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_of_a_header_alone_is_an_empty_table(tmp_path, end):
    file = tmp_path / "products.csv"
    file.write_bytes(f"product_id,title{end}".encode())
    assert read_table(file).to_pydict() == {"product_id": [], "title": []}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("products.csv", "product_id,title\n007,red shirt\n008,caf\u00e9\n"),
        (
            "products.json",
            '{"product_id": "007", "title": "red shirt"}\n'
            '{"product_id": "008", "title": "caf\u00e9"}\n',
        ),
    ],
)
def test_a_file_of_another_encoding_is_read_but_for_its_own_letters(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content.encode("latin-1"))
    read = select_text(read_table(file), ["product_id", "title"], file).to_pydict()
    assert read == {"product_id": ["007", "008"], "title": ["red shirt", "caf\ufffd"]}


def test_a_column_that_comes_twice_is_refused_by_its_name(tmp_path):
    file = tmp_path / "corrected.parquet"
    pq.write_table(pa.table([["1"], ["red"], ["blue"]], ["product_id", "color", "color"]), file)
    with pytest.raises(SchemaMismatch, match="more than one column color"):
        select_text(pq.ParquetFile(file).read(), ["product_id", "color"], file)


@pytest.mark.parametrize("name", ["products.csv", "products.json"])
def test_a_row_of_megabytes_is_read(tmp_path, name):
    file = tmp_path / name
    long = "x" * 3_000_000
    as_json = f'{{"product_id": "1", "title": "{long}"}}\n'
    file.write_text(as_json if name.endswith("json") else f"product_id,title\n1,{long}\n")
    assert read_table(file).to_pydict() == {"product_id": ["1"], "title": [long]}


def test_line_breaks_in_descriptions_part_no_row_wherever_a_block_of_the_file_ends(tmp_path):
    file = tmp_path / "products.csv"
    text = "\n".join(["of cotton"] * 9)
    rows = "".join(f'{number},"{text}"\n' for number in range(30_000))  # three of Arrow's blocks
    file.write_text(f"product_id,description\n{rows}")
    table = read_table(file)
    assert table["product_id"].to_pylist() == [str(number) for number in range(30_000)]
    assert set(table["description"].to_pylist()) == {text}


def test_every_value_of_json_is_text_as_it_was_written(tmp_path):
    file = tmp_path / "products.jsonl"
    file.write_text(
        '{"product_id": "2020-01-01", "title": "a\\ud800"}\n\n'
        '{"product_id": 1.10, "title": null}\n{"product_id": true, "size": [1]}\n',
        encoding="utf-8-sig",
    )
    table = read_table(file)
    assert table.select(["product_id", "title"]).to_pydict() == {
        "product_id": ["2020-01-01", "1.10", "true"],
        "title": ["a?", None, None],
    }
    with pytest.raises(SchemaMismatch, match="cannot be read as text"):
        select_text(table, ["size"], file)


def test_json_of_a_pandas_frame_has_gaps_and_whole_ids(tmp_path):
    file = tmp_path / "products.json"
    file.write_text(
        '{"product_id": 4006381333931.0, "title": NaN, "image_path": NaN}\n'
        '{"product_id": NaN, "title": "NaN", "image_path": NaN}\n'
        '{"product_id": 1.10, "title": 1.05, "image_path": null}\n'
    )
    assert read_table(file).to_pydict() == {
        "product_id": ["4006381333931", None, "1.10"],
        "title": [None, "NaN", "1.05"],
        "image_path": [None] * 3,
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"product_id,title\n1,Red, large shirt\n2,b\n"),
        ("a.csv", b"product_id,title\n1,a\n2,Red, large shirt\n"),
        ("a.csv", b'product_id,title\n1,"open\n2,b\n'),
        ("a.csv.gz", b"product_id,title\n1,a\n"),
        ("a.json", b'{"a": 1}{"a": 2}\n'),
        ("a.json", b"[1, 2]\n"),
        ("a.json", b'{"product_id": \n'),
        ("a.json", b'{"a":' * 100_000),
    ],
)
def test_what_is_no_table_is_a_message(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="file can be read at"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.bz2", "a.csv.zst"])
def test_a_compressed_file_is_read(tmp_path, name):
    content = b'{"id": "1"}\n' if "json" in name else b"id\n1\n"
    with pa.output_stream(str(tmp_path / name), compression="detect") as file:
        file.write(content)
    assert read_table(tmp_path / name).to_pydict() == {"id": ["1"]}


def test_csv_rows_may_be_short_end_in_several_ways_and_hold_any_text(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b'\xef\xbb\xbfid,title\r\n1,NA\n2\r\n007,"5"" wide,\nlong"\r\n,5" screen\n')
    assert read_table(file).to_pydict() == {
        "id": ["1", "2", "007", None],
        "title": ["NA", None, '5" wide,\nlong', '5" screen'],
    }


def test_whole_numbers_with_a_gap_are_no_fractions(tmp_path):
    table = pa.table(
        {
            "product_id": [4006381333931.0, None],
            "title": [Decimal("12.00"), None],
            "description": [1.5, 2.0],
        }
    )
    assert select_text(table, table.column_names, tmp_path).to_pydict() == {
        "product_id": ["4006381333931", None],
        "title": ["12", None],
        "description": ["1.5", "2"],
    }


def test_bytes_are_text_too_whatever_they_hold(tmp_path):
    table = pa.table({"title": pa.array([b"caf\xc3\xa9", b"caf\xe9", None], pa.binary())})
    assert select_text(table, ["title"], tmp_path)["title"].to_pylist() == [
        "café",
        "caf\ufffd",
        None,
    ]


# The last four are full-width: a spreadsheet in Chinese or Japanese may take them for the others.
SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_what_would_be_a_formula_is_guarded_and_comes_back(sign):
    for text in (f"{sign}1+1", f"'{sign}1", f"''{sign}"):
        assert guard(text) == f"'{text}"
        assert unguard(guard(text)) == text


@pytest.mark.parametrize("text", ["", "a=1", "'quoted'", "1-1", "size \uff1d M"])
def test_other_texts_stay_as_they_are(text):
    assert guard(text) == text == unguard(text)
