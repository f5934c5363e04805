"""Small pictures of products as data: URIs, encoded anew from decoded pixels.

The original bytes, and what they carry beside pixels, never reach a page. Where a picture cannot be
read, the page shows a placeholder.
"""

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from enrich.images.decoding import decode
from enrich.images.limits import ImageProblem
from enrich.images.store import ImageStore

SIDE_PX = 220
_QUALITY = 70
_THREADS = 4


def make_thumbnails(store: ImageStore, image_paths: Iterable[str]) -> dict[str, str]:
    """Return the thumbnail of every path whose picture can be read."""
    paths = list(dict.fromkeys(image_paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        made = pool.map(lambda path: make_thumbnail(store, path), paths)
        return {path: uri for path, uri in zip(paths, made, strict=True) if uri}


def make_thumbnail(store: ImageStore, image_path: str) -> str | None:
    """Return the picture within SIDE_PX a side as a data: URI, None if it cannot be read."""
    try:
        picture = decode(store.read(image_path), limits=store.limits, target_px=SIDE_PX)
    except ImageProblem:
        return None
    picture.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    # A picture that decode() made holds pixels only: copied, so that nothing in `info` is saved.
    encoded = io.BytesIO()
    bare = Image.new("RGB", picture.size)
    bare.paste(picture)
    bare.save(encoded, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
