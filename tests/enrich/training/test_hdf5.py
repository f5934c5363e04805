"""Pictures in HDF5 files are read under the limits of all others."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from enrich.images.limits import ImageLimits, ImageProblem
from enrich.images.store import ImageStore
from enrich.preprocess import ImageShape
from enrich.records import Status
from enrich.training.hdf5 import read_hdf5_pixels

SHAPE = ImageShape(size_px=4, fit="crop", mean=(0, 0, 0), std=(1, 1, 1))
PICTURES = np.full((2, 8, 8, 3), 7, dtype=np.uint8)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A root folder with one sound HDF5 file, beside a folder that is not allowed."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_bytes(b"TOPSECRET" * 40)
    with h5py.File(tmp_path / "elsewhere" / "other.h5", "w") as file:
        file["pictures"] = PICTURES
    with h5py.File(tmp_path / "shop" / "sound.h5", "w") as file:
        file["pictures"] = PICTURES
    return tmp_path / "shop"


def read(shop: Path, path: str, limits: ImageLimits | None = None) -> np.ndarray | None:
    return read_hdf5_pixels(ImageStore(str(shop), limits=limits), path, SHAPE)


def test_a_row_is_a_picture(shop: Path) -> None:
    pixels = read(shop, "sound.h5#pictures/1")
    assert pixels is not None and pixels.shape == (3, 4, 4) and (pixels == 7).all()


@pytest.mark.parametrize(
    "path", [None, "", "a.jpg", "a.h5", "../a.h5#input_image/0", "/tmp/a.h5#input_image/0"]
)
def test_only_a_name_in_the_root_folder_is_taken_for_an_hdf5_picture(
    shop: Path, path: str | None
) -> None:
    assert read_hdf5_pixels(ImageStore(str(shop)), path, SHAPE) is None


def _link_file(shop: Path) -> None:
    (shop / "bad.h5").symlink_to(shop.parent / "elsewhere" / "other.h5")


def _link_set(shop: Path) -> None:
    with h5py.File(shop / "bad.h5", "w") as file:
        file["pictures"] = h5py.ExternalLink(str(shop.parent / "elsewhere/other.h5"), "pictures")


def _link_set_twice(shop: Path) -> None:
    with h5py.File(shop / "bad.h5", "w") as file:
        file["there"] = h5py.ExternalLink(str(shop.parent / "elsewhere/other.h5"), "/")
        file["pictures"] = h5py.SoftLink("/there/pictures")


def _store_elsewhere(shop: Path) -> None:
    with h5py.File(shop / "bad.h5", "w") as file:
        secret = str(shop.parent / "elsewhere" / "secret.txt")
        file.create_dataset("pictures", (1, 10, 10, 3), "u1", external=[(secret, 0, 300)])


def _map_elsewhere(shop: Path) -> None:
    layout = h5py.VirtualLayout((2, 8, 8, 3), "u1")
    other = str(shop.parent / "elsewhere" / "other.h5")
    layout[:] = h5py.VirtualSource(other, "pictures", PICTURES.shape)
    with h5py.File(shop / "bad.h5", "w") as file:
        file.create_virtual_dataset("pictures", layout)


@pytest.mark.parametrize(
    "write", [_link_file, _link_set, _link_set_twice, _store_elsewhere, _map_elsewhere]
)
def test_pictures_that_lie_outside_the_roots_are_forbidden(
    shop: Path, write: Callable[[Path], None]
) -> None:
    write(shop)
    with pytest.raises(ImageProblem) as told:
        read(shop, "bad.h5#pictures/0")
    assert told.value.status is Status.IMAGE_FORBIDDEN


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((1, 16_000, 16_000, 3), (1, 64, 64, 3)),
        ((1, 8, 100_000, 3), (1, 8, 64, 3)),
        ((100_000, 100, 100, 3), (100_000, 100, 100, 1)),
    ],
)
def test_rows_that_cost_more_than_a_picture_may_are_too_large(
    shop: Path, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    with h5py.File(shop / "bomb.h5", "w") as file:
        file.create_dataset("pictures", shape, "u1", chunks=chunks, compression="gzip")
    with pytest.raises(ImageProblem) as told:
        read(shop, "bomb.h5#pictures/0")
    assert told.value.status is Status.IMAGE_TOO_LARGE


def test_the_limit_is_the_stores(shop: Path) -> None:
    assert read(shop, "sound.h5#pictures/0", ImageLimits(max_pixels=64)) is not None
    with pytest.raises(ImageProblem, match="8 x 8 px is over max_pixels = 63"):
        read(shop, "sound.h5#pictures/0", ImageLimits(max_pixels=63))


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("gone.h5#pictures/0", Status.IMAGE_MISSING, "No such file"),
        ("torn.h5#pictures/0", Status.IMAGE_CORRUPT, "no HDF5 file can be read"),
        ("sound.h5#pictures/7", Status.IMAGE_CORRUPT, "row 7 of 2"),
        ("sound.h5#nothing/0", Status.IMAGE_CORRUPT, "no data set 'nothing'"),
        ("other.h5#group/0", Status.IMAGE_CORRUPT, "no pictures"),
        ("other.h5#texts/0", Status.IMAGE_CORRUPT, "no pictures"),
        ("other.h5#numbers/0", Status.IMAGE_CORRUPT, "no pictures"),
        ("other.h5#layers/0", Status.IMAGE_CORRUPT, "no pictures"),
    ],
)
def test_what_is_no_picture_is_said(shop: Path, path: str, status: Status, says: str) -> None:
    (shop / "torn.h5").write_bytes(b"no HDF5")
    with h5py.File(shop / "other.h5", "w") as file:
        file.create_group("group")
        file["texts"] = ["Wool Shirt"]
        file["numbers"] = np.zeros((2, 8, 8, 3), dtype=np.float32)
        file["layers"] = np.zeros((2, 8, 8, 50), dtype=np.uint8)
    with pytest.raises(ImageProblem, match=says) as told:
        read(shop, path)
    assert told.value.status is status


def test_damaged_rows_are_corrupt(shop: Path) -> None:
    file = shop / "damaged.h5"
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    with h5py.File(file, "w") as opened:
        opened.create_dataset("pictures", data=noise, chunks=noise.shape, compression="gzip")
        at = opened["pictures"].id.get_chunk_info(0).byte_offset
    data = bytearray(file.read_bytes())
    data[at : at + 2_000] = bytes(2_000)
    file.write_bytes(data)
    with pytest.raises(ImageProblem) as told:
        read(shop, "damaged.h5#pictures/0")
    assert told.value.status is Status.IMAGE_CORRUPT
