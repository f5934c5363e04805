"""Answers that are kept for when their checkpoint is gone."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from enrich.drill.old_answers import keep_answers, read_kept_answers
from enrich.errors import ConfigError
from enrich.records import Product

PRODUCTS = [Product("1", "red shirt", image_path="1.jpg"), Product("2", "shoes")]
TABLE = pa.table(
    {
        "product_id": ["1", "2"],
        "color": ["red", None],
        "color_confidence": [0.98765, 0.3],
        "modalities": ["image+text", "text"],
    }
)


def test_kept_answers_are_read_again_and_say_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "old.parquet"
    keep_answers(file, "model-1", TABLE, PRODUCTS)
    kept = read_kept_answers(file, PRODUCTS)
    assert kept["color"].to_pylist() == ["red", None]
    assert kept["modalities"].to_pylist() == ["image+text", "text"]
    assert kept["color_confidence"].to_pylist() == pytest.approx([0.98765, 0.3], abs=1e-3)
    assert json.loads(file.with_suffix(".json").read_text())["model_version"] == "model-1"


def test_answers_about_other_products_are_refused(tmp_path: Path) -> None:
    keep_answers(tmp_path / "old.parquet", "model-1", TABLE, PRODUCTS)
    with pytest.raises(ConfigError, match="model-1 from the repository's history"):
        read_kept_answers(tmp_path / "old.parquet", PRODUCTS[:1])
