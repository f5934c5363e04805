"""Small data sets in the layouts that others publish in."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

FOODS = {"apple_pie": (200, 150, 60), "beet_salad": (130, 20, 70)}


@pytest.fixture(scope="session")
def food101(tmp_path_factory: pytest.TempPathFactory, write_jpeg: Callable[..., Path]) -> Path:
    """UPMC Food-101 with two classes: 30 pictures each to train on, 5 to test; one is missing."""
    root = tmp_path_factory.mktemp("data") / "UPMC_Food101"
    (root / "texts").mkdir(parents=True)
    for split, count in (("train", 30), ("test", 5)):
        lines = []
        for name, color in FOODS.items():
            for number in range(count):
                image = f"{name}_{number}.jpg"
                if (split, name, number) != ("train", "beet_salad", 0):
                    write_jpeg(root / "images" / split / name / image, color, side=40)
                title = f'"{name.replace("_", " ")} no. {number}, the best | Site"'
                lines.append(f"{image},{title},{name}\n")
        (root / "texts" / f"{split}_titles.csv").write_text("".join(lines))
    return root


@pytest.fixture
def fashion_gen(tmp_path: Path) -> Path:
    """Fashion-Gen with two products of two views each to train on, and one to validate."""

    def write(part: str, products: list[tuple[int, bytes, bytes, bytes, bytes]]) -> None:
        with h5py.File(tmp_path / f"fashiongen_256_256_{part}.h5", "w") as file:
            names = ("productID", "name", "description", "category", "subcategory")
            for name, column in zip(names, zip(*products, strict=True), strict=True):
                kind = "i4" if name == "productID" else "S200"
                file[f"input_{name}"] = np.array(column, dtype=kind).reshape(-1, 1)
            # Each picture of its own gray.
            grays = np.arange(1, len(products) + 1, dtype=np.uint8) * 10
            file["input_image"] = np.broadcast_to(
                grays[:, None, None, None], (len(products), 256, 256, 3)
            )

    shirt = (7, b"Wool Shirt", "Chemise légère".encode(), b"SHIRTS", b"SHIRTS")
    bag = (8, b"Caf\xe9 Bag", b"A bag.", b"BAGS & LUGGAGE", b"DUFFLE & TOP HANDLE BAGS")
    write("train", [shirt, shirt, bag, bag])
    write("validation", [(9, b"Tie", b"", b"TIES", b"TIES")])
    return tmp_path
