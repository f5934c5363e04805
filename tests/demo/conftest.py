"""One demo catalog for all tests: drawn once, large enough to hold every planted flaw."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from enrich.demo.catalog import write_demo_catalog

SEED = 2


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "catalog"
    write_demo_catalog(folder, products=170, seed=SEED)
    return folder


@pytest.fixture(scope="session")
def products(demo: Path) -> pd.DataFrame:
    return pd.read_parquet(demo / "products.parquet")


@pytest.fixture(scope="session")
def labels(demo: Path) -> pd.DataFrame:
    return pd.read_parquet(demo / "labels.parquet")


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller catalog of the same seed as `demo`."""
    folder = tmp_path_factory.mktemp("few") / "catalog"
    write_demo_catalog(folder, products=20, seed=SEED)
    return folder


@pytest.fixture(scope="session")
def decodes() -> Callable[[Path], bool]:
    def decodes(path: Path) -> bool:
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, Image.DecompressionBombError):
            return False
        return True

    return decodes
