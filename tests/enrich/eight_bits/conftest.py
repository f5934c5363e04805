"""A checkpoint on CLIP's towers, products, and what eight bits make of their answers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.manifest import Manifest, read_manifest
from enrich.eight_bits.agreement import EightBitComparison, compare_in_eight_bits
from enrich.records import Product

WORDS = ("red", "blue", "green", "white", "striped", "formal")


@pytest.fixture(scope="session")
def manifest(
    make_checkpoint: Callable[[ClassifierConfig], Path], clip_config: ClassifierConfig
) -> Manifest:
    """A checkpoint on CLIP's towers."""
    return read_manifest(make_checkpoint(clip_config))


@pytest.fixture(scope="session")
def products(
    tmp_path_factory: pytest.TempPathFactory, write_jpeg: Callable[..., Path]
) -> list[Product]:
    """A picture and a text, a text alone, and one of which nothing can be read."""
    picture = write_jpeg(tmp_path_factory.mktemp("shop") / "red.jpg")
    read = [
        Product(f"{a} {b}", f"{a} {b} shirt", None, str(picture) if a < b else None)
        for a in WORDS
        for b in WORDS
    ]
    return [*read, Product("nothing")]


@pytest.fixture(scope="session")
def image_root(products: list[Product]) -> str:
    return str(Path(next(one.image_path for one in products if one.image_path)).parent)


@pytest.fixture(scope="session")
def comparison(manifest: Manifest, image_root: str, products: list[Product]) -> EightBitComparison:
    return compare_in_eight_bits(manifest, image_root, products)
