"""An answer becomes the columns of product_attributes."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from enrich.engine.columns import (
    AttributeAnswers,
    arrow_schema,
    to_enriched,
    to_record_batch,
    to_row,
    to_table,
)
from enrich.lexicon import ProductText
from enrich.records import (
    Candidate,
    EncodedProduct,
    EnrichedProduct,
    Modalities,
    Prediction,
    Status,
)
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


def _color(*confidences: float, abstained: Sequence[bool] = ()) -> AttributeAnswers:
    """Answers of as many products, each red before pink."""
    rows = len(confidences)
    return AttributeAnswers(
        "color",
        ("pink", "red"),
        np.array([[1, 0]] * rows),
        np.array([[one, 1 - one] for one in confidences]),
        np.array(abstained or [False] * rows),
        np.full(rows, 0.25),
    )


def test_answers_of_attributes_with_other_numbers_of_labels_stand_side_by_side() -> None:
    fit = AttributeAnswers(
        "fit", ("slim",), np.zeros((2, 1), np.int64), np.ones((2, 1)), np.array([False, True])
    )
    first, second = to_record_batch([_color(0.75, 0.5, abstained=[True, False]), fit]).to_pylist()
    assert (first["color"], first["color_confidence"], first["fit"]) == (None, 0.75, "slim")
    assert (second["color"], second["fit"], second["fit_confidence"]) == ("red", None, 1.0)
    color = {"attribute": "color", "label": "red", "confidence": 0.75, "abstained": True}
    color |= {"image_weight": 0.25, "alternatives": [{"label": "pink", "confidence": 0.25}]}
    color |= {"named": None, "abstention": "unsure"}
    of_fit = {"attribute": "fit", "label": "slim", "confidence": 1.0, "abstained": False}
    of_fit |= {"image_weight": None, "alternatives": [], "named": None, "abstention": None}
    assert first["predictions"] == [color, of_fit]
    assert [one["abstained"] for one in second["predictions"]] == [False, True]


class _Reds:
    """Answers red to everything."""

    def answer(
        self,
        vectors: Sequence[bytes],
        modalities: Sequence[str],
        texts: Sequence[ProductText],
        categories: Sequence[str | None] | None = None,
    ) -> pa.RecordBatch:
        return to_record_batch([_color(*(0.5 + one[0] / 10 for one in vectors))])


def _encoded(product_id: str, vectors: bytes | None) -> EncodedProduct:
    if vectors is None:
        return EncodedProduct(product_id, Status.IMAGE_CORRUPT, None, None, "cut off")
    return EncodedProduct(product_id, Status.OK, Modalities.IMAGE, vectors)


@pytest.mark.parametrize("readable", [(True, False, True, False), (False, False), (True,), ()])
def test_what_could_not_be_read_is_a_row_of_nulls_between_the_others(
    readable: tuple[bool, ...],
) -> None:
    encoded = [
        _encoded(f"p{row}", bytes([row]) if is_read else None)
        for row, is_read in enumerate(readable)
    ]
    table = to_table(encoded, _Reds(), ["color"], "v")
    assert table.schema == arrow_schema(["color"])
    rows = table.to_pylist()
    for place, (row, is_read) in enumerate(zip(rows, readable, strict=True)):
        assert row["product_id"] == f"p{place}" and row["model_version"] == "v"
        assert row["error"] == (None if is_read else "cut off")
        assert row["color"] == ("red" if is_read else None)
        assert row["color_confidence"] == (0.5 + place / 10 if is_read else None)
        assert len(row["predictions"]) == is_read
    enriched = to_enriched(encoded, _Reds(), ["color"])
    assert [len(one.predictions) for one in enriched] == [int(is_read) for is_read in readable]


def test_the_columns_are_those_of_the_published_table_but_for_what_a_run_adds() -> None:
    published = set(re.findall(r"^ *`?(\w+)`? [A-Z]", tables.product_attributes(("color",)), re.M))
    of_a_run = {"product_category", "corrections", "content_hash"}
    of_a_run |= {"run_id", "run_date", "enriched_at"}
    assert set(arrow_schema(["color"]).names) == published - of_a_run | {"error"}
