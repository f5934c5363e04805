"""Make demo/photographs from clothing.tar, the "Clothing dataset" (CC0).

    python demo/build.py clothing.tar

demo/products.csv names the photographs, by the names that they have in the archive.
"""

import csv
import io
import sys
import tarfile
from pathlib import Path

from PIL import Image, ImageOps

FOLDER = Path(__file__).parent
LONGEST_SIDE = 320
QUALITY = 78


def main(archive: Path) -> None:
    """Write every photograph that products.csv names, smaller and without metadata."""
    with (FOLDER / "products.csv").open(encoding="utf-8", newline="") as file:
        names = {Path(row["image_path"]).name for row in csv.DictReader(file)}
    target = FOLDER / "photographs"
    target.mkdir(exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            packed = tar.extractfile(member) if name in names else None
            if packed is not None:
                (target / name).write_bytes(shrink(packed.read()))


def shrink(content: bytes) -> bytes:
    """Return a photograph as JPEG of at most 320 pixels, upright and without metadata."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    # A new image holds the pixels alone: `save` would carry the EXIF of the one that was opened.
    Image.frombytes("RGB", image.size, image.tobytes()).save(
        written, "JPEG", quality=QUALITY, optimize=True, progressive=False
    )
    return written.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
