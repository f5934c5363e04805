"""The floors and the engine are measured on the same products."""

from pathlib import Path

import pytest

from bench.engine_stages import open_stages
from bench.setup import Setup
from enrich.classifiers.manifest import BUNDLED
from enrich.demo.catalog import write_demo_catalog

PRODUCTS = 9


@pytest.mark.usefixtures("own_threads")
def test_each_stage_runs_over_all_products(tmp_path: Path) -> None:
    write_demo_catalog(tmp_path / "shop", products=PRODUCTS, seed=3, flaws=False)
    setup = Setup(
        products_file=tmp_path / "shop" / "products.parquet",
        checkpoint=BUNDLED,
        cores=1,
        products=PRODUCTS,
    )
    with open_stages(setup) as stages:
        done = {name: stage.run() for name, stage in stages.items()}
    assert done == {"forward": PRODUCTS, "decode": PRODUCTS, "engine": PRODUCTS}
