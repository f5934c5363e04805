"""Small pictures of products as data: URIs, encoded anew from decoded pixels.

The original bytes, and any metadata in them, never reach a page. For an unreadable picture the page
shows a placeholder.
"""

import base64
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from enrich.images.decoding import decode
from enrich.images.settings import ImageProblem
from enrich.images.store import ImageStore

SIDE_PX = 220
# A page has 90 thumbnails at most: in base64 these are 2.2 MB.
MOST_BYTES = 18_000
_QUALITY = 70
_THREADS = 4
# For a picture with too many bytes: first these qualities, then fewer pixels.
_LOWER_QUALITIES = (55, 40)
_SMALLEST_PX = 64


def make_thumbnails(
    store: ImageStore,
    image_paths: Iterable[str],
    side_px: int = SIDE_PX,
    most_bytes: int = MOST_BYTES,
) -> dict[str, str]:
    """Return the thumbnail of every path whose picture can be read."""
    paths = list(dict.fromkeys(image_paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        made = pool.map(lambda path: make_thumbnail(store, path, side_px, most_bytes), paths)
        return {path: uri for path, uri in zip(paths, made, strict=True) if uri}


def make_thumbnail(
    store: ImageStore, image_path: str, side_px: int = SIDE_PX, most_bytes: int = MOST_BYTES
) -> str | None:
    """Return the picture as a data: URI, None if it cannot be read.

    Neither side is longer than `side_px`. Before it is written as a URI, the picture has
    `most_bytes` bytes at most.
    """
    try:
        picture = decode(store.read(image_path), limits=store.limits, target_px=side_px)
    except ImageProblem:
        return None
    for side, quality in _sizes(side_px):
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        encoded = _encode(picture, quality)
        if len(encoded) <= most_bytes:
            break
    return "data:image/webp;base64," + base64.b64encode(encoded).decode("ascii")


def _sizes(side_px: int) -> Iterator[tuple[int, int]]:
    """Yield sides and qualities to try, the best first."""
    side = side_px
    while side >= min(side_px, _SMALLEST_PX):
        yield side, _QUALITY
        yield from ((side, quality) for quality in _LOWER_QUALITIES)
        side = side * 3 // 4


def _encode(picture: Image.Image, quality: int) -> bytes:
    # A picture that decode() made holds pixels only: copied, so that nothing in `info` is saved.
    encoded = io.BytesIO()
    bare = Image.new("RGB", picture.size)
    bare.paste(picture)
    bare.save(encoded, "WEBP", quality=quality, method=4)
    return encoded.getvalue()
