"""The engine of a tiny checkpoint, and one product with all it can have."""

from collections.abc import Callable
from pathlib import Path

import pytest

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.manifest import read_manifest
from enrich.engine import Engine, open_engine
from enrich.records import Product


@pytest.fixture(scope="session")
def engine(
    make_checkpoint: Callable[[ClassifierConfig], Path],
    small_config: ClassifierConfig,
    write_jpeg: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Engine:
    """Reads images from a folder that holds red.jpg, and has two joint layers."""
    folder = tmp_path_factory.mktemp("pictures")
    write_jpeg(folder / "red.jpg")
    checkpoint = make_checkpoint(small_config.model_copy(update={"joint_layers": 2}))
    return open_engine(read_manifest(checkpoint), str(folder))


@pytest.fixture
def product() -> Product:
    return Product("p1", "Red striped T-shirt", "a striped shirt for the office", "red.jpg")
