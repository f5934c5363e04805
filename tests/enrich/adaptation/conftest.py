"""A small shop with pictures, and an engine to read it."""

import pandas as pd
import pytest
import torch

from enrich.classifiers.manifest import read_manifest
from enrich.config import JobConfig
from enrich.engine.spec import build_spec


@pytest.fixture(scope="package")
def shop(tmp_path_factory, write_jpeg):
    """Six products: two with all, two with the same text, one without text, one without picture."""
    folder = tmp_path_factory.mktemp("shop")
    for name, color in (("red", (220, 20, 20)), ("blue", (20, 20, 220))):
        write_jpeg(folder / f"{name}.jpg", color)
    rows = [
        ("whole", "red shirt", "of cotton", "red.jpg"),
        ("blue twin", "Cannes Crew", None, "blue.jpg"),
        ("red twin", "Cannes Crew", None, "red.jpg"),
        ("no words", None, None, "blue.jpg"),
        ("no picture", "blue shoes", None, None),
        ("nothing", None, None, None),
    ]
    columns = ["product_id", "title", "description", "image_path"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "products.parquet")
    return folder


@pytest.fixture(scope="package")
def engine(tiny_checkpoint, shop):
    settings = JobConfig(checkpoint=str(tiny_checkpoint), batch_size=2)
    spec = build_spec(settings, read_manifest(tiny_checkpoint), str(shop))
    return spec.build(torch.device("cpu"))
