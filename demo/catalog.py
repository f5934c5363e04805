"""The demo catalog: a second-hand clothes shop with the faults that real catalogs have.

    python -m demo.catalog FOLDER

It holds 300 photographs with titles and descriptions (products.csv). After every tenth product
comes a second listing of it that is broken in one way.
"""

import csv
import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from enrich.errors import ConfigError
from enrich.places import atomic_write_folder

Row = dict[str, str | None]
# Columns in which a second listing differs, and the content of its image file: None for no file.
Listing = tuple[Row, bytes | None]

PRODUCTS = 300
COLUMNS = ("product_id", "title", "description", "category", "image_path")
FAULT_EVERY = 10
_FOLDER = Path(__file__).parent
_ORIENTATION = 0x0112  # EXIF


class Score(NamedTuple):
    """An attribute's answers beside the labels given by hand, in numbers of products."""

    labelled: int
    answered: int
    right: int


def write_demo_catalog(folder: Path, *, products: int = PRODUCTS, faults: bool = True) -> None:
    """Write `products.parquet` and `images/` into a new or empty folder.

    The folder appears complete or not at all. `products` is how many of the 300, from the first on.
    Faults come on top of them. Raises ConfigError if the folder holds files already.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} cannot become the demo catalog: found files, expected an empty folder or "
            "none. Remove it or name another folder."
        )
    with atomic_write_folder(folder) as building:
        (building / "images").mkdir()
        rows = []
        for row, image in _list_products(products, faults):
            rows.append(row)
            if image is not None and row["image_path"] is not None:
                (building / row["image_path"]).write_bytes(image)
        schema = pa.schema([(column, pa.string()) for column in COLUMNS])
        pq.write_table(pa.Table.from_pylist(rows, schema), building / "products.parquet")


def read_labels() -> pd.DataFrame:
    """Return the labels given by hand: one row per product_id, one column per attribute.

    What was doubtful in the photograph is NA.
    """
    labels = pd.read_csv(_FOLDER / "labels.csv", dtype="string")
    return labels.pivot(index="product_id", columns="attribute", values="label")


def score_answers(published: pd.DataFrame) -> dict[str, Score]:
    """Compare published labels with those given by hand, per attribute.

    Rows are those of product_attributes with product_id and a column per attribute, where NULL is
    no answer. Products without a label by hand do not count.
    """
    labels = read_labels()
    both = published.merge(labels, on="product_id", suffixes=("", "_by_hand"))
    scores = {}
    for attribute in labels.columns.intersection(published.columns):
        rows = both.dropna(subset=f"{attribute}_by_hand")
        answered = rows.dropna(subset=attribute)
        right = (answered[attribute] == answered[f"{attribute}_by_hand"]).sum()
        scores[str(attribute)] = Score(len(rows), len(answered), int(right))
    return scores


def _list_products(count: int, faults: bool) -> Iterator[tuple[Row, bytes | None]]:
    with (_FOLDER / "products.csv").open(encoding="utf-8", newline="") as file:
        rows: list[Row] = [
            {column: value or None for column, value in row.items()} for row in csv.DictReader(file)
        ]
    planted = iter(PLANTED if faults else ())
    for number, row in enumerate(rows[:count], start=1):
        photograph = (_FOLDER / "photographs" / Path(str(row["image_path"])).name).read_bytes()
        yield row, photograph
        fault = next(planted, None) if number % FAULT_EVERY == 0 else None
        if fault is not None:
            yield _list_again(row, photograph, fault)


def _list_again(row: Row, photograph: bytes, fault: str) -> tuple[Row, bytes | None]:
    second_id = f"{row['product_id']}-2"
    changed, image = FAULTS[fault](row, photograph)
    return row | {"product_id": second_id, "image_path": f"images/{second_id}.jpg"} | changed, image


def _encode(photograph: bytes, file_format: str, mode: str = "RGB", **options: object) -> bytes:
    written = io.BytesIO()
    Image.open(io.BytesIO(photograph)).convert(mode).save(written, file_format, **options)
    return written.getvalue()


def _turn(photograph: bytes) -> bytes:
    """Return the photograph lying on its side, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    turned = Image.open(io.BytesIO(photograph)).transpose(Image.Transpose.ROTATE_90)
    written = io.BytesIO()
    turned.save(written, "JPEG", exif=exif)
    return written.getvalue()


def _promise_pixels(side: int) -> bytes:
    """Return a PNG of 100 bytes whose header promises side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _repeat(text: str | None, length: int) -> str:
    sentence = f"{text or 'Ask for more photographs.'} "
    return (sentence * (length // len(sentence) + 1))[:length]


# All image files are named .jpg: what they hold is seen in their content alone.
FAULTS: dict[str, Callable[[Row, bytes], Listing]] = {
    "image file missing": lambda row, photograph: ({}, None),
    "image path null": lambda row, photograph: ({"image_path": None}, None),
    "image path leaves the folder": lambda row, photograph: (
        {"image_path": "../../etc/passwd"},
        None,
    ),
    "JPEG truncated": lambda row, photograph: ({}, photograph[: len(photograph) * 2 // 5]),
    "web page instead of an image": lambda row, photograph: (
        {},
        b"<html><body>404 Not Found</body></html>\n",
    ),
    "image file empty": lambda row, photograph: ({}, b""),
    "image header absurd": lambda row, photograph: ({}, _promise_pixels(60_000)),
    "text empty": lambda row, photograph: ({"title": "", "description": None}, photograph),
    "text empty and image missing": lambda row, photograph: (
        {"title": "  ", "description": ""},
        None,
    ),
    "product id null": lambda row, photograph: ({"product_id": None}, photograph),
    "product id duplicated": lambda row, photograph: (
        {"product_id": row["product_id"], "title": f"{row['title']}, second listing"},
        photograph,
    ),
    "description of 20,000 characters": lambda row, photograph: (
        {"description": _repeat(row["description"], 20_000)},
        photograph,
    ),
    "title in emoji": lambda row, photograph: ({"title": "🔥✨ NEW DROP ✨🔥 👕👟👜"}, photograph),
    # Not broken, but rare enough that a reader may trip over them.
    "WebP": lambda row, photograph: ({}, _encode(photograph, "WEBP", quality=80)),
    "PNG with a palette": lambda row, photograph: ({}, _encode(photograph, "PNG", "P")),
    "PNG with an alpha channel": lambda row, photograph: ({}, _encode(photograph, "PNG", "RGBA")),
    "JPEG in CMYK": lambda row, photograph: ({}, _encode(photograph, "JPEG", "CMYK")),
    "JPEG turned by EXIF": lambda row, photograph: ({}, _turn(photograph)),
}
# In the order of the catalog: each fault once, then common ones again.
PLANTED = (
    *FAULTS,
    "image file missing",
    "JPEG truncated",
    "text empty",
    "image path null",
    "web page instead of an image",
    "image file empty",
    "product id duplicated",
    "text empty and image missing",
    "JPEG truncated",
    "image file missing",
    "text empty",
    "image path leaves the folder",
)

if __name__ == "__main__":
    try:
        write_demo_catalog(Path(sys.argv[1]))
    except ConfigError as error:
        sys.exit(f"error: {error}")
