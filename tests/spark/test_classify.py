"""docs/python.md as it stands: the engine in Python, and a column in Spark."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import enrich
from enrich.config import JobConfig
from enrich.errors import ConfigError
from enrich.spark.classify import classify

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The shop of the examples, in the working folder."""
    (tmp_path / "shop" / "images").mkdir(parents=True)
    Image.new("RGB", (90, 90), (200, 20, 30)).save(tmp_path / "shop" / "images" / "1.jpg")
    lines = ("product_id,title,description,image_path", "1,Red shirt,,1.jpg", "2,,,gone.jpg")
    (tmp_path / "shop" / "products.csv").write_text("\n".join([*lines, ""]))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shop"


def test_examples_run_as_they_stand(spark, shop, capsys):
    page = (ROOT / "docs" / "python.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    names: dict[str, Any] = {"spark": spark}
    for example in examples:
        # Spark's workers do not start in the working folder.
        exec(example.replace('"shop/', f'"{shop}/'), names)
    shown = capsys.readouterr().out
    assert "color red" in shown and "pattern" in shown
    said = names["products"].select("product_id", names["said"].alias("said"))
    rows = said.orderBy("product_id").collect()
    first, second = (row["said"] for row in rows)
    assert (first["status"], first["modalities"]) == ("ok", "image+text")
    assert first["predictions"][0]["label"] == "red" and first["color_confidence"] > 0.5
    assert (second["status"], second["color"], second["modalities"]) == (
        "image_missing",
        None,
        None,
    )


def test_settings_that_need_a_category_are_refused(spark):
    settings = JobConfig.model_validate(
        {"applies_to": {"color": ["shirts"]}, "columns": {"category": "kind"}}
    )
    with pytest.raises(ConfigError, match="applies_to has no effect"):
        classify("title", "description", "image_path", image_root=".", settings=settings)


def test_each_public_name_is_there():
    assert all(getattr(enrich, name).__name__ == name for name in enrich.__all__)
