"""An answer becomes the columns of product_attributes."""

import re

import pyarrow as pa

from enrich.records import Candidate, EnrichedProduct, Modalities, Prediction, Status
from enrich.rows import arrow_schema, to_row
from schemas import tables

COLOR = Prediction("color", "red", 0.8, False, 0.25, (Candidate("pink", 0.15),))
STYLE = Prediction("style", "casual", 0.4, True, 0.75, ())


def _answer(*predictions: Prediction) -> EnrichedProduct:
    return EnrichedProduct("p1", Status.OK, Modalities.IMAGE_AND_TEXT, predictions)


def test_an_abstained_label_is_null_and_keeps_its_confidence() -> None:
    row = to_row(_answer(COLOR, STYLE), ["color", "style"])
    assert (row["color"], row["color_confidence"]) == ("red", 0.8)
    assert (row["style"], row["style_confidence"]) == (None, 0.4)
    assert row["predictions"][0]["alternatives"] == [{"label": "pink", "confidence": 0.15}]
    assert row["predictions"][1]["label"] == "casual" and row["predictions"][1]["abstained"]


def test_a_row_holds_plain_strings_of_status_and_modalities() -> None:
    row = to_row(_answer(COLOR), ["color"])
    assert type(row["status"]) is str and row["status"] == "ok"
    assert type(row["modalities"]) is str and row["modalities"] == "image+text"
    assert row["error"] is None


def test_an_unreadable_product_is_a_row_of_nulls_with_its_reason() -> None:
    answer = EnrichedProduct("p1", Status.IMAGE_CORRUPT, None, (), "cut off")
    assert to_row(answer, ["color"]) == {
        "status": "image_corrupt",
        "modalities": None,
        "error": "cut off",
        "color": None,
        "color_confidence": None,
        "predictions": [],
    }


def test_columns_follow_the_attributes_of_the_checkpoint() -> None:
    row = to_row(_answer(COLOR, STYLE), ["style"])
    assert "color" not in row and "style" in row
    assert arrow_schema(["fit"]).names[:3] == ["product_id", "fit", "fit_confidence"]


def test_rows_fit_the_arrow_schema_without_loss() -> None:
    attributes = ["color", "style"]
    answers = [_answer(COLOR, STYLE), EnrichedProduct("p2", Status.TEXT_EMPTY, None, (), "x")]
    rows = [
        {"product_id": a.product_id, **to_row(a, attributes), "model_version": "v"} for a in answers
    ]
    schema = arrow_schema(attributes)
    assert set(schema.names) == set(rows[0])
    read = pa.Table.from_pylist(rows, schema=schema).to_pylist()
    assert [{name: row[name] for name in rows[0]} for row in read] == rows


def test_the_columns_are_those_of_the_published_table_but_for_what_a_run_adds() -> None:
    published = set(re.findall(r"^ *`?(\w+)`? [A-Z]", tables.product_attributes(("color",)), re.M))
    of_a_run = {"product_category", "corrections", "content_hash"}
    of_a_run |= {"run_id", "run_date", "enriched_at"}
    assert set(arrow_schema(["color"]).names) == published - of_a_run | {"error"}
