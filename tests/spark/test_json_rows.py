"""Lines of JSON that Spark's own reader gives up: read all the same, or told."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from enrich.config import ColumnNames
from enrich.errors import SchemaMismatch
from enrich.spark.catalog.json_rows import refuse_lost_objects
from enrich.spark.catalog.table import open_catalog

pytestmark = pytest.mark.spark


def utf16(content: bytes) -> bytes:
    return content.decode().encode("utf-16")


def test_a_json_object_with_a_key_twice_stops_no_run(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "products.jsonl").write_text(
        '{"product_id": 1, "title": "Tee", "description": "", "image_path": null, "stock": {}}\n'
        '{"product_id": 2, "title": "Cap", "title": "Hat", "stock": {"here": 1, "here": 2}}\n'
    )
    names = ColumnNames(description=None)
    found = open_catalog(spark, str(tmp_path / "products.jsonl"), names).products.collect()
    assert sorted((row["product_id"], row["title"]) for row in found) == [
        ("1", "Tee"),
        ("2", "Hat"),
    ]
    with pytest.raises(SchemaMismatch, match="no column brand"):
        open_catalog(spark, str(tmp_path / "products.jsonl"), ColumnNames(category="brand"))


def test_a_json_row_with_bytes_that_are_no_utf8_keeps_all_else(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "products.jsonl" / "category=shoes"
    folder.mkdir(parents=True)
    good, bad = (
        b'{"product_id": "%s", "title": "caf%s"}' % one for one in ((b"8", b""), (b"7", b"\xe9"))
    )
    (folder / "a.jsonl").write_bytes(b"\n".join([good, bad, b"", b"no json"]))

    columns = ColumnNames(description=None, image_path=None, category="category")
    found = open_catalog(spark, str(folder.parent), columns).products.collect()

    assert {(row["product_id"], row["title"], row["has_surplus_fields"]) for row in found} == {
        ("7", "caf\ufffd", False),
        ("8", "caf", False),
        (None, "no json", True),
    }
    assert {row["product_category"] for row in found} == {"shoes"}


@pytest.mark.parametrize(
    ("lines", "titles"),
    [
        pytest.param(
            [b'{"product_id": 1, "title": "a\tb"}'], {"1": "a\tb"}, id="a tab that is not escaped"
        ),
        pytest.param(
            [b'{"product_id": "1", "title": NaN}', b'{"product_id": "2", "title": "b"}'],
            {"1": None, "2": "b"},
            id="what Python writes for what is missing",
        ),
        pytest.param(
            [b'[{"product_id": 1, "title": "a"}, {"product_id": 2, "title": "b"}]', b"[]"],
            {"1": "a", "2": "b"},
            id="arrays of objects",
        ),
        pytest.param(
            [
                b'{"product_id": 1, "title": "a", "price": 3, "sizes": [1]}',
                b'{"product_id": "A-2", "title": "caf\xe9", "price": 3.5, "sizes": "many"}',
            ],
            {"1": "a", "A-2": "caf\ufffd"},
            id="values of another type",
        ),
        pytest.param(
            [
                b'{"product_id": 1, "title": "a", "title": "b"}',
                b'{"product_id": 2, "title": "caf\xe9"}',
            ],
            {"1": "b", "2": "caf\ufffd"},
            id="a key twice",
        ),
    ],
)
def test_a_bad_line_of_json_costs_no_row_but_its_own(
    spark: SparkSession, tmp_path: Path, lines: list[bytes], titles: dict[str, str]
) -> None:
    file = tmp_path / "products.jsonl"
    file.write_bytes(b"\n".join([*lines, b'{"product_id": 7, "title": "x"']))

    columns = ColumnNames(description=None, image_path=None)
    products = open_catalog(spark, str(file), columns).products

    found = {row["product_id"]: row["title"] for row in products.collect()}
    # Who is to mend the line finds it in quarantine.
    assert found == {**titles, None: '{"product_id": 7, "title": "x"'}
    # Spark reads fewer fields of a line for a narrow question, and must answer it alike.
    lost = products.where("has_surplus_fields").select("product_id").collect()
    assert [row["product_id"] for row in lost] == [None]


@pytest.mark.parametrize("value", [b"4006381333931.0", b"true"])
def test_ids_that_are_no_whole_numbers_are_refused_beside_a_bad_line_too(
    spark: SparkSession, tmp_path: Path, value: bytes
) -> None:
    file = tmp_path / "products.jsonl"
    file.write_bytes(b'{"product_id": %s, "title": "caf"}\n' % value)
    columns = ColumnNames(description=None, image_path=None)
    for _ in range(2):
        with pytest.raises(SchemaMismatch, match="wanted string or integral"):
            open_catalog(spark, str(file), columns)
        file.write_bytes(file.read_bytes() + b'{"product_id": "A-2", "title": "caf\xe9"}\n')


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"product_id": 1.5, "title": "a", "title": "b"}', "product_id .* is double"),
        (b'{"product_id": true, "title": "a", "title": "b"}', "product_id .* is boolean"),
        (b'{"product_id": 1, "title": "a", "title": ["b"]}', "title .* is array<string>"),
        (b'{"product_id": 1, "stock": {"a": 1, "a": 2}, "title": 1.5}', "title .* is double"),
    ],
)
def test_values_that_are_no_texts_are_refused_beside_a_key_twice_too(
    spark: SparkSession, tmp_path: Path, line: bytes, found: str
) -> None:
    (tmp_path / "products.jsonl").write_bytes(line + b'\n{"stock": 2}\n')
    with pytest.raises(SchemaMismatch, match=f"column {found}; wanted string"):
        open_catalog(spark, str(tmp_path), ColumnNames(description=None, image_path=None))


@pytest.mark.parametrize("start", [b"[", b"\xef\xbb\xbf\n [\n", b'[{"product_id": 0},'], ids=repr)
def test_a_json_array_over_several_lines_is_refused_before_a_product_is_lost(
    spark: SparkSession, tmp_path: Path, start: bytes
) -> None:
    file = tmp_path / "products.json"
    file.write_bytes(start + b'{"product_id": 1},\n{"product_id": 2}]\n')
    with pytest.raises(
        SchemaMismatch, match="holds one array over several lines; wanted: one object a line"
    ):
        open_catalog(spark, str(file), ColumnNames())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'[\n  {\n    "product_id": "1"\n  }\n]\n', "holds one array over several lines"),
        (b'{\n  "product_id": "1"\n}\n', "is a JSON object"),
    ],
)
def test_a_file_without_one_json_object_a_line_is_told_what_is_wanted(
    spark: SparkSession, tmp_path: Path, content: bytes, found: str
) -> None:
    (tmp_path / "products.json").write_bytes(content)
    with pytest.raises(SchemaMismatch, match=f"{found}; wanted: one object a line"):
        open_catalog(spark, str(tmp_path), ColumnNames())


@pytest.mark.parametrize(
    ("content", "line"),
    [
        # As a delivery stream writes them.
        ('{"product_id": "}{"}{"product_id": "2"}\n', 1),
        # As where files were put together of which one has no line end at its end.
        ('{"product_id": "1"}\n\n{"product_id": "2"}{"product_id": "3"}\n', 3),
        ('{"product_id": "1"}\r\n{"product_id": "2"} \ufeff{"product_id": "3"}\r\n', 2),
        ('{"product_id": "1"},{"product_id": "2"}\n', 1),
        ('{"product_id": "1"}\n{"product_id": "2"}[{"product_id": "3"}]\n', 2),
        ('[{"product_id": "1"}] [{"product_id": "2"}]\n', 1),
    ],
    ids=repr,
)
def test_several_objects_in_one_line_are_refused_before_a_product_is_lost(
    spark: SparkSession, tmp_path: Path, content: str, line: int
) -> None:
    (tmp_path / "products.json").write_bytes(content.encode())
    with pytest.raises(
        SchemaMismatch, match=f"line {line} of .* holds several objects; wanted: one object a line"
    ):
        open_catalog(spark, str(tmp_path), ColumnNames())


def test_objects_and_brackets_within_an_object_are_no_others_in_its_line(tmp_path: Path) -> None:
    file = tmp_path / "products.jsonl"
    file.write_text(
        '{"product_id": "}{", "tags": [{}, {}]}\r{"product_id": "}[", "at": [[1], [2]]}, \n'
        '[{"product_id": "][", "tags": [{"a": {}}, {}]}, {"product_id": 2}]\n'
        '{"product_id": "1}{"\n' + "[" * 100_000 + "] [\n"
    )
    refuse_lost_objects(file)


@pytest.mark.parametrize("name", ["products.csv", "products.jsonl"])
@pytest.mark.parametrize("encode", [utf16, gzip.compress, bz2.compress, lzma.compress])
def test_a_file_in_utf16_or_compressed_is_told_to_be(
    spark: SparkSession, tmp_path: Path, name: str, encode: Callable[[bytes], bytes]
) -> None:
    (tmp_path / name).write_bytes(encode(b"product_id,title\n1,Tee\n"))
    with pytest.raises(
        SchemaMismatch, match=f"{name} cannot be read: it is (in UTF-16|compressed)"
    ):
        open_catalog(spark, str(tmp_path), ColumnNames())
