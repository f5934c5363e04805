"""The engine of the tiny checkpoint, and one product with all it can have."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from enrich.classifiers.manifest import read_manifest
from enrich.config import JobConfig
from enrich.engine import Engine
from enrich.records import Product
from enrich.spec import build_spec


@pytest.fixture(scope="session")
def engine(
    tiny_checkpoint: Path,
    write_jpeg: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Engine:
    """Reads images from a folder that holds red.jpg."""
    folder = tmp_path_factory.mktemp("pictures")
    write_jpeg(folder / "red.jpg")
    settings = JobConfig(checkpoint=str(tiny_checkpoint))
    spec = build_spec(settings, read_manifest(tiny_checkpoint), str(folder))
    return spec.build(torch.device("cpu"))


@pytest.fixture
def product() -> Product:
    return Product("p1", "Red striped T-shirt", "a striped shirt for the office", "red.jpg")
