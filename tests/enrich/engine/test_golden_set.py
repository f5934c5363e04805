"""What the bundled checkpoint answers to a fixed set of products, whatever makes it faster.

The answers are kept in `golden_set.json`, in each precision by itself, as the engine gave them when
the bundled checkpoint was new. With another one, delete that file: the next run of this test writes
it.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from demo.catalog import write_demo_catalog
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.engine.spec import open_engine
from enrich.records import Product

GOLDEN = Path(__file__).with_name("golden_set.json")
TOLERANCE = 0.01  # of a confidence
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRODUCTS = 90
ENLARGED_PX = 1_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Products of the demo, some broken on purpose; every third picture as large as a shop's."""
    folder = tmp_path_factory.mktemp("golden") / "shop"
    write_demo_catalog(folder, products=PRODUCTS)
    for file in sorted((folder / "images").glob("*.jpg"))[::3]:
        try:
            picture = Image.open(file).convert("RGB")
        except (OSError, Image.DecompressionBombError):
            continue  # one of the broken ones
        scale = ENLARGED_PX / max(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return folder


@pytest.fixture(scope="module")
def products(shop):
    columns = ["product_id", "title", "description", "image_path"]
    rows = pd.read_parquet(shop / "products.parquet", columns=columns).astype(object)
    given = [Product(*row) for row in rows.where(rows.notna(), None).itertuples(index=False)]
    # Some have a picture only, and some a text only.
    blind = [replace(product, image_path=None) for product in given[::7]]
    silent = [replace(product, title=None, description=None) for product in given[3::7]]
    return [*given, *blind, *silent]


def _build_engine(shop):
    return open_engine(read_manifest(BUNDLED), str(shop))


def _answers(shop, products, dtype):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enrich.engine.device.choose_dtype", lambda device: dtype)
        answers = list(_build_engine(shop).enrich(products))
    return [
        {
            "product_id": answer.product_id,
            "status": str(answer.status),
            "labels": {p.attribute: p.label for p in answer.predictions},
            "confidences": {p.attribute: round(p.confidence, 4) for p in answer.predictions},
        }
        for answer in answers
    ]


@pytest.fixture(scope="module")
def golden(shop, products):
    version = _build_engine(shop).spec.model_version
    if not GOLDEN.exists():
        answers = {name: _answers(shop, products, dtype) for name, dtype in DTYPES.items()}
        text = json.dumps({"model_version": version} | answers)
        GOLDEN.write_text(text.replace('{"product_id"', '\n{"product_id"') + "\n")
        pytest.fail(f"{GOLDEN} was written: look at it, and keep it")
    golden: dict[str, Any] = json.loads(GOLDEN.read_text())
    assert version == golden["model_version"], f"delete {GOLDEN}, then run again"
    return golden


@pytest.mark.parametrize("name", DTYPES)
def test_no_optimisation_changes_an_answer(shop, products, golden, name):
    changes = []
    for before, now in zip(golden[name], _answers(shop, products, DTYPES[name]), strict=True):
        for key in ("product_id", "status", "labels"):
            assert now[key] == before[key], before
        for attribute, confidence in before["confidences"].items():
            changes.append(abs(now["confidences"][attribute] - confidence))
    assert max(changes) <= TOLERANCE
