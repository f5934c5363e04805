"""The floors and the engine are measured on the same products."""

import pytest
import torch

from bench.engine_stages import open_stages, prepare_batches
from bench.setup import Setup
from demo.catalog import write_demo_catalog
from enrich.classifiers.manifest import BUNDLED
from enrich.engine import engine as engine_module

PRODUCTS = 9


@pytest.fixture
def setup(tmp_path, own_threads):
    write_demo_catalog(tmp_path / "shop", products=PRODUCTS, faults=False)
    return Setup(
        products_file=tmp_path / "shop" / "products.parquet",
        checkpoint=BUNDLED,
        cores=1,
        products=PRODUCTS,
        batch_size=4,
    )


def test_each_stage_runs_over_all_products(setup):
    with open_stages(setup) as stages:
        done = {name: stage.run() for name, stage in stages.items()}
    assert done == {"forward": PRODUCTS, "decode": PRODUCTS, "engine": PRODUCTS}


def test_the_engine_decodes_every_picture_in_every_run(setup, monkeypatch):
    decode, decoded = engine_module.decode_pixels, 0

    def count(data, **shown):
        nonlocal decoded
        decoded += 1
        return decode(data, **shown)

    monkeypatch.setattr(engine_module, "decode_pixels", count)
    with open_stages(setup) as stages:
        pictures = decoded
        assert pictures == PRODUCTS
        for _ in range(2):
            decoded = 0
            stages["engine"].run()
            assert decoded == pictures, "those that the forward pass was given are known"


def test_batches_are_even_and_no_larger_than_the_set_up_says(setup):
    torch.set_num_threads(1)
    engine = setup.spec().build(torch.device("cpu"))
    batches = prepare_batches(engine, setup.measured_products())
    assert sorted(len(one.has_text) for one in batches) == [3, 3, 3]
