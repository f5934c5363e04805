"""Fashion-Gen is read as it was published, and its pictures where they lie."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from labelled import load_labelled

from enrich.errors import ConfigError
from enrich.preprocess import ImageShape
from enrich.training.pixel_cache import cache_pixels
from enrich.training.readers.fashion_gen import read_fashion_gen
from enrich.training.readers.rows import Split


def test_every_view_of_both_files_is_a_product(fashion_gen: Path) -> None:
    rows = read_fashion_gen(fashion_gen)
    assert rows.titles == ["Wool Shirt"] * 2 + ["Café Bag"] * 2 + ["Tie"]
    assert rows.descriptions[0] == "Chemise légère"
    assert rows.labels["category"] == ["SHIRTS"] * 2 + ["BAGS & LUGGAGE"] * 2 + ["TIES"]
    assert rows.labels["sub_category"][2] == "DUFFLE & TOP HANDLE BAGS"
    assert rows.split == [Split.TRAIN] * 4 + [Split.TEST]


def test_views_of_one_product_are_one_group(fashion_gen: Path) -> None:
    assert read_fashion_gen(fashion_gen).groups == ["7", "7", "8", "8", "9"]


def test_pictures_are_cached_from_inside_the_files(fashion_gen: Path, tmp_path: Path) -> None:
    products = load_labelled([Path(f"fashion_gen:{fashion_gen}")], {"category": ("SHIRTS",)})
    shape = ImageShape(size_px=32, fit="crop", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    images = cache_pixels(products, shape, tmp_path / "cache")
    assert images.has_image.all()
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 10]


def _remove_validation(folder: Path) -> None:
    (folder / "fashiongen_256_256_validation.h5").unlink()


def _damage_train(folder: Path) -> None:
    (folder / "fashiongen_256_256_train.h5").write_bytes(b"no HDF5")


def _write_other(folder: Path) -> None:
    with h5py.File(folder / "fashiongen_256_256_train.h5", "w") as file:
        file["input_image"] = np.zeros((1, 8, 8, 3), dtype=np.uint8)


def _cut_names(folder: Path) -> None:
    with h5py.File(folder / "fashiongen_256_256_train.h5", "a") as file:
        names = file["input_name"][:3]
        del file["input_name"]
        file["input_name"] = names


def _damage_names(folder: Path) -> None:
    train = folder / "fashiongen_256_256_train.h5"
    with h5py.File(train, "a") as file:
        names = file["input_name"][:]
        del file["input_name"]
        place = file.create_dataset("input_name", data=names, compression="gzip", chunks=True)
        chunk = place.id.get_chunk_info(0)
    with train.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\0" * chunk.size)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_cut_names, "'input_name' of .*_train.h5 cannot be read: .* size 3 .* the 4 pictures"),
        (_damage_names, "'input_name' of .*_train.h5 cannot be read: .*"),
        (_remove_validation, r"0 file\(s\) fashiongen_\*_validation\.h5"),
        (_damage_train, "no HDF5 file can be read"),
        (_write_other, "no data set input_name, .*it has input_image"),
    ],
)
def test_what_is_not_the_published_layout_is_refused(
    fashion_gen: Path, break_it: Callable[[Path], None], message: str
) -> None:
    break_it(fashion_gen)
    with pytest.raises(ConfigError, match=message):
        read_fashion_gen(fashion_gen)
