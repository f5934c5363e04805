"""An answer becomes the columns of product_attributes."""

import re

import numpy as np
import pytest

from enrich.engine.columns import (
    AttributeAnswers,
    arrow_schema,
    to_enriched,
    to_record_batch,
    to_table,
)
from enrich.records import EncodedProduct, Modalities, Status
from schemas import tables
from schemas.labels import ABSTENTIONS, UNSURE


def _color(*confidences, abstained=()):
    """Answers of as many products, each red before pink."""
    rows = len(confidences)
    return AttributeAnswers(
        "color",
        ("pink", "red"),
        np.array([[1, 0]] * rows),
        np.array([[one, 1 - one] for one in confidences]),
        np.where(abstained or [False] * rows, ABSTENTIONS.index(UNSURE), -1),
        np.full(rows, 0.25),
    )


def test_answers_of_attributes_with_other_numbers_of_labels_stand_side_by_side():
    fit = AttributeAnswers(
        "fit", ("slim",), np.zeros((2, 1), np.int64), np.ones((2, 1)), np.array([-1, 0])
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

    def answer(self, vectors, modalities, texts, categories=None):
        return to_record_batch([_color(*(0.5 + one[0] / 10 for one in vectors))])


def _encoded(product_id, vectors):
    if vectors is None:
        return EncodedProduct(product_id, Status.IMAGE_CORRUPT, None, None, "cut off")
    return EncodedProduct(product_id, Status.OK, Modalities.IMAGE, vectors)


@pytest.mark.parametrize("readable", [(True, False, True, False), (False, False), (True,), ()])
def test_what_could_not_be_read_is_a_row_of_nulls_between_the_others(readable):
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


def test_the_columns_are_those_of_the_published_table_but_for_what_a_run_adds():
    published = set(re.findall(r"^ *`?(\w+)`? [A-Z]", tables.product_attributes(("color",)), re.M))
    of_a_run = {"product_category", "corrections", "content_hash"}
    of_a_run |= {"run_id", "run_date", "enriched_at"}
    assert set(arrow_schema(["color"]).names) == published - of_a_run | {"error"}
