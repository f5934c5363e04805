"""What is planted broken: each flaw turns a sound product into one that real catalogs hold."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from enrich.demo.formats import saved
from enrich.demo.product import DrawnProduct


def _as_jpeg(product: DrawnProduct) -> DrawnProduct:
    """The same product under a name that ends in .jpg: flaws are told by content, not by name."""
    return replace(product, image_path=f"images/{product.product_id}.jpg")


def _without_image_file(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(product, image_bytes=None)


def _without_image_path(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(product, image_path=None, image_bytes=None)


def _with_truncated_jpeg(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    picture = Image.open(io.BytesIO(product.image_bytes or b"")).convert("RGB")
    whole = saved(picture, "JPEG", quality=85)
    return replace(_as_jpeg(product), image_bytes=whole[: len(whole) * 2 // 5])


def _with_text_for_image(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(_as_jpeg(product), image_bytes=b"<html><body>404 Not Found</body></html>\n")


def _with_empty_image_file(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(_as_jpeg(product), image_bytes=b"")


def _without_text(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(product, title="", description=None)


def _with_nothing_to_read(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(product, title="  ", description="", image_bytes=None)


def _with_the_id_before(product: DrawnProduct, rows: list[DrawnProduct]) -> DrawnProduct:
    before = rows[-1]
    title = f"{before.goods.brand} {before.goods.article.names[0]}, second listing"
    return replace(before, title=title, description="Listed twice by two sellers.")


def _without_id(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(product, product_id=None)


def _with_very_long_description(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    sentence = f"{product.description} "
    return replace(product, description=(sentence * (20_000 // len(sentence) + 1))[:20_000])


def _with_title(title: str) -> Callable[[DrawnProduct, list[DrawnProduct]], DrawnProduct]:
    return lambda product, _: replace(product, title=title)


def _with_path_out_of_the_folder(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    return replace(product, image_path="../../etc/passwd", image_bytes=None)


def _with_absurd_size(product: DrawnProduct, _: list[DrawnProduct]) -> DrawnProduct:
    """A picture of 100 bytes whose header promises 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(64))
    chunks = (_png_chunk(b"IHDR", header), _png_chunk(b"IDAT", data), _png_chunk(b"IEND", b""))
    path = f"images/{product.product_id}.png"
    return replace(product, image_path=path, image_bytes=b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


FLAWS: dict[str, Callable[[DrawnProduct, list[DrawnProduct]], DrawnProduct]] = {
    "image file missing": _without_image_file,
    "image path null": _without_image_path,
    "jpeg truncated": _with_truncated_jpeg,
    "text named jpg": _with_text_for_image,
    "image file empty": _with_empty_image_file,
    "text empty": _without_text,
    "text empty and image missing": _with_nothing_to_read,
    "product id duplicated": _with_the_id_before,
    "product id null": _without_id,
    "description very long": _with_very_long_description,
    "title in Hindi": _with_title("महिलाओं के लिए नया परिधान, आरामदायक और टिकाऊ"),
    "title in Japanese": _with_title("新作 ファッション アイテム 送料無料"),
    "title in Arabic": _with_title("منتج جديد أنيق ومريح لكل يوم"),
    "title in emoji": _with_title("🔥✨ NEW DROP ✨🔥 👕👟👜"),
    "image path climbs out": _with_path_out_of_the_folder,
    "image header absurd": _with_absurd_size,
}
# Each flaw once in the first 165 products, then the commoner ones again.
_AGAIN = (
    "image file missing", "jpeg truncated", "text empty", "image path null", "text named jpg",
    "image file empty", "product id duplicated", "text empty and image missing", "jpeg truncated",
    "image file missing", "text empty", "image path climbs out",
)  # fmt: skip
FLAWS_AT = {5 + 10 * place: flaw for place, flaw in enumerate((*FLAWS, *_AGAIN))}
