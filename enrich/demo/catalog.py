"""Writes a demo catalog: invented products, their drawn pictures, the truth, and planted flaws.

Knows articles, texts, picture formats and files; leaves cloth to `fabrics`, shapes to `drawings`.
Each product has random numbers of its own, so product 12 is the same in a catalog of 20 or 2,000.
"""

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter
from rich.progress import track

from enrich.demo.drawings import DRAWINGS, draw_product, reach_of
from enrich.demo.fabrics import weave_cloth

Key = TypeVar("Key", str, int)

PRODUCT_COLUMNS = ("product_id", "title", "description", "image_path")
LABEL_COLUMNS = ("product_id", "group_id", "color", "pattern", "style")
# Parquet metadata by which a folder is known to be a demo catalog, and so safe to replace.
MADE_BY = {b"made_by": b"enrich.demo.catalog"}

PALETTES: dict[str, dict[str, float]] = {
    "broad": {
        "black": 15, "blue": 15, "white": 11, "grey": 8, "red": 8, "green": 8, "pink": 7,
        "purple": 5, "brown": 4, "beige": 5, "yellow": 4.5, "orange": 4, "turquoise": 3,
        "multi": 4, "gold": 0.7, "silver": 0.7, "bronze": 0.3,
    },
    "leather": {
        "black": 34, "brown": 30, "beige": 7, "blue": 5, "white": 5, "red": 5, "grey": 5,
        "pink": 3, "purple": 2, "green": 3, "bronze": 2, "gold": 2, "silver": 2,
    },
    "metal": {
        "silver": 26, "gold": 24, "bronze": 13, "black": 12, "blue": 5, "white": 6, "brown": 6,
        "pink": 4, "red": 4,
    },
    "evening": {
        "black": 25, "gold": 14, "silver": 14, "red": 12, "blue": 9, "green": 6, "purple": 6,
        "pink": 8, "bronze": 4, "white": 4,
    },
    "denim": {"blue": 65, "black": 16, "grey": 12, "white": 4, "beige": 3},
    "office": {
        "white": 24, "blue": 30, "black": 12, "grey": 12, "pink": 6, "purple": 5, "beige": 5,
        "green": 3, "red": 3,
    },
}  # fmt: skip
PATTERN_PROFILES: dict[str, dict[str, float]] = {
    "tops": {"solid": 47, "printed": 28, "striped": 15, "colourblocked": 6, "textured": 4},
    "shirts": {"solid": 42, "checked": 30, "striped": 22, "printed": 6},
    "feminine": {
        "solid": 38, "printed": 30, "lace": 8, "embellished": 6, "striped": 8, "checked": 5,
        "textured": 5,
    },
    "ethnic": {"solid": 38, "printed": 36, "embellished": 20, "lace": 2, "striped": 4},
    "sequined": {"embellished": 1},
    "knits": {"solid": 38, "textured": 30, "striped": 24, "checked": 8},
    "denim": {"solid": 55, "washed": 45},
    "bottoms": {"solid": 76, "checked": 12, "washed": 6, "printed": 6},
    "sportswear": {"solid": 72, "colourblocked": 20, "printed": 8},
    "bags": {"solid": 60, "textured": 18, "printed": 17, "checked": 5},
}  # fmt: skip
# Only these patterns can show many colors at once.
MULTI_PATTERNS = frozenset({"checked", "colourblocked", "printed", "striped"})


@dataclass(frozen=True)
class Article:
    """A kind of goods in the shop: how it is drawn, called and labelled."""

    drawing: str
    names: tuple[str, ...]
    weight: float
    profile: str | None  # None: the shop gives no pattern (a watch)
    palette: str = "broad"
    style: str = "casual"
    genders: tuple[str, ...] = ("Men", "Women", "Unisex", "Boys", "Girls")


MEN, WOMEN = ("Men", "Men's", "Gents"), ("Women", "Women's", "Ladies")

ARTICLES = (
    Article("t-shirt", ("T-shirt", "Tshirt", "Tee", "Crew Tee"), 12, "tops"),
    Article("polo", ("Polo", "Polo T-shirt"), 5, "tops", genders=MEN),
    Article("shirt", ("Shirt", "Casual Shirt"), 9, "shirts", genders=(*MEN, "Women", "Boys")),
    Article("folded shirt", ("Shirt", "Slim Fit Shirt"), 3, "shirts", "office", genders=MEN),
    Article("shirt with tie", ("Formal Shirt",), 2, "shirts", "office", "formal", MEN),
    Article("folded shirt", ("Formal Shirt",), 1.5, "shirts", "office", "formal", MEN),
    Article("top", ("Top", "Blouse", "Camisole"), 7, "feminine", genders=WOMEN),
    Article("dress", ("Dress", "Day Dress", "Skater Dress"), 6, "feminine", genders=WOMEN),
    Article("skirt", ("Skirt", "Midi Skirt"), 3, "feminine", genders=WOMEN),
    Article("sweater", ("Sweater", "Pullover", "Jumper"), 4, "knits"),
    Article("jacket", ("Jacket", "Bomber"), 3.5, "bottoms", genders=(*MEN, *WOMEN)),
    Article("jeans", ("Jeans", "Denims"), 4, "denim", "denim", genders=(*MEN, *WOMEN)),
    Article("trousers", ("Trousers", "Pants"), 2.5, "bottoms", genders=(*MEN, *WOMEN)),
    Article("trousers", ("Chinos",), 2, "bottoms", style="smart casual", genders=MEN),
    Article("blazer", ("Blazer",), 1.3, "bottoms", "office", "smart casual", (*MEN, *WOMEN)),
    Article("shorts", ("Shorts",), 3, "bottoms"),
    Article("kurta", ("Kurta", "Kurti", "Tunic Kurta"), 6.5, "ethnic", style="ethnic"),
    Article("sari", ("Sari", "Saree"), 2.5, "ethnic", style="ethnic", genders=WOMEN),
    Article("scarf", ("Dupatta",), 1, "ethnic", style="ethnic", genders=WOMEN),
    Article("track jacket", ("Track Jacket", "Tracksuit Top"), 2.6, "sportswear", style="sports"),
    Article("track pants", ("Track Pants", "Joggers"), 2.6, "sportswear", style="sports"),
    Article("sneaker", ("Running Shoes", "Trainers", "Sports Shoes"), 7, None, style="sports"),
    Article("sneaker", ("Sneakers", "Casual Shoes"), 2.5, None),
    Article("cap", ("Cap", "Baseball Cap"), 3.5, None, style="sports"),
    Article("loafer", ("Loafers",), 1.2, None, "leather", "smart casual", MEN),
    Article(
        "formal shoe", ("Formal Shoes", "Oxfords", "Derbys"), 3.4, None, "leather", "formal", MEN
    ),
    Article("heel", ("Heels", "Pumps", "Sandals"), 3.2, None, "leather", genders=WOMEN),
    Article("flip flop", ("Flip Flops", "Slippers"), 3, None),
    Article("handbag", ("Handbag", "Tote", "Shoulder Bag"), 4, "bags", "leather", genders=WOMEN),
    Article("backpack", ("Backpack", "Rucksack"), 2.2, "bags"),
    Article("wallet", ("Wallet",), 2, None, "leather", genders=(*MEN, *WOMEN)),
    Article("belt", ("Belt",), 2, None, "leather", genders=(*MEN, *WOMEN)),
    Article("tie", ("Tie", "Necktie"), 1.2, "shirts", "office", "formal", MEN),
    Article("socks", ("Socks",), 1.5, "knits"),
    Article("scarf", ("Scarf", "Stole", "Muffler"), 1.6, "knits"),
    Article("watch", ("Watch", "Analogue Watch"), 4, None, "metal", genders=(*MEN, *WOMEN)),
    Article("sunglasses", ("Sunglasses", "Shades"), 2.2, None, "leather", genders=(*MEN, *WOMEN)),
    Article("earrings", ("Earrings", "Drop Earrings"), 2, None, "metal", genders=WOMEN),
    Article("bangle", ("Bangle", "Bracelet"), 1.3, None, "metal", genders=WOMEN),
    Article("clutch", ("Clutch", "Evening Clutch"), 2, None, "metal", "party", WOMEN),
    Article("dress", ("Party Dress", "Gown"), 1.8, "sequined", "evening", "party", WOMEN),
    Article("duffel", ("Duffel Bag", "Weekender"), 2, None, "leather", "travel", ("Unisex",)),
    Article(
        "trolley", ("Trolley Bag", "Cabin Suitcase"), 2, None, style="travel", genders=("Unisex",)
    ),
)

BRANDS = (
    "Calder", "Norhaven", "Vireo & Co", "Maison Tell", "Ashgrove", "Brindle", "Kavisha", "Oremo",
    "Fjordline", "Tamsin Lane", "Pace Nine", "Quillon", "Rosabel", "Sundara", "Harrow Mills",
    "Lumeno", "Zephyra", "Dockside", "Anvi", "Peppergate", "Corvane", "Mirelle", "Trailmark",
    "United Looms", "Yara Studio", "Basket & Bloom", "Hexley", "Ottoline",
)  # fmt: skip
MODELS = (
    "Crew", "Sheldon", "Aria", "Downtown", "Field", "Riva", "Summit", "Classic", "Nomad", "Willow",
    "Echo", "Harper", "Jaipur", "Marina", "Pilot", "Solace", "Tempo", "Vega", "Bowery", "Iris",
    "Lucky Charm", "Street 9", "Essential", "Monsoon", "Heritage", "Cube", "Breeze", "Atlas",
)  # fmt: skip
COLOR_PHRASES = ("{word}", "{word}", "{word}", "{word}", "Dark {word}", "Light {word}")
PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "checked": ("Checked", "Check", "Plaid", "Gingham", "Checks"),
    "colourblocked": ("Colourblocked", "Colorblock"),
    "embellished": ("Embellished", "Embroidered", "Sequin"),
    "lace": ("Lace", "Lace"),
    "printed": ("Printed", "Print", "Graphic", "Printed"),
    "solid": ("Solid", "Plain"),
    "striped": ("Striped", "Stripe", "Stripes", "Striped"),
    "textured": ("Textured", "Ribbed", "Knitted"),
    "washed": ("Washed", "Faded", "Distressed"),
}
TITLE_ORDERS = (
    "{brand} {gender} {model} {color} {pattern} {article}",
    "{brand} {gender} {pattern} {color} {article}",
    "{brand} {gender} {color} {model} {article}",
    "{brand} {model} {pattern} {article} {color}",
    "{brand} {color} {pattern} {article} for {gender}",
    "{model} {article} by {brand}, {color}",
    "{brand} {model} {article} - {gender}, {pattern}",
)
FITS = (
    "Cut for a regular fit that sits easily all day.",
    "A slim fit with room where it counts.",
    "Relaxed through the body. True to size.",
    "Fitting . Regular . Model wears size M.",
    "Light, comfortable and made to last.",
    "Designed with attention to every seam.",
    "Goes with whatever the day brings, from the market to the movies.",
    "An easy piece to dress up or down.",
)
CARES = (
    "Machine wash cold with like colours.",
    "Hand wash, dry in shade.",
    "Wipe clean with a soft dry cloth.",
    "Do not bleach; warm iron if needed.",
    "Dry clean only.",
    "Warranty: 3 months against manufacturing defects.",
    "Store away from direct sunlight.",
)
MATERIALS: dict[str | None, tuple[str, ...]] = {
    None: ("durable materials", "a polished finish", "a sturdy build", "quality fittings"),
    "bags": ("canvas and lining", "soft faux leather", "full-grain leather"),
    "denim": ("stretch denim", "100% cotton denim"),
    "ethnic": ("a silk blend", "cotton cambric", "georgette", "viscose rayon"),
    "knits": ("a wool blend", "fine merino", "acrylic yarn"),
}
CLOTH_MATERIALS = ("100% cotton", "a cotton blend", "breathable polyester", "linen", "soft jersey")


@dataclass(frozen=True)
class Goods:
    """What is sold, apart from how it is photographed and described."""

    article: Article
    color: str
    pattern: str | None
    brand: str
    model: str
    gender: str


@dataclass(frozen=True)
class Product:
    """One row of the catalog, its truth, and the bytes of its picture (None: no file)."""

    product_id: str | None
    title: str | None
    description: str | None
    image_path: str | None
    group_id: str
    goods: Goods
    image_bytes: bytes | None


def is_demo_catalog(folder: Path) -> bool:
    """Whether a folder holds a catalog that this module wrote."""
    products = folder / "products.parquet"
    if not products.is_file():
        return False
    try:
        metadata = pq.read_schema(products).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return False
    return metadata.items() >= MADE_BY.items()


def write_demo_catalog(
    folder: Path,
    *,
    products: int = 300,
    seed: int = 0,
    flaws: bool = True,
    show_progress: bool = False,
) -> None:
    """Writes `products.parquet`, `labels.parquet` and `images/` into `folder`.

    The same arguments give the same bytes. An older demo catalog in `folder` is replaced.

    Raises:
        FileExistsError: `folder` holds something that is not a demo catalog; it is left alone.
    """
    folder = folder.resolve()
    if (
        folder.exists()
        and not is_demo_catalog(folder)
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise FileExistsError(
            f"{folder} exists and is not a demo catalog; name another folder or remove it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Readers must never meet half a catalog: it is built beside the folder and renamed at the end.
    building = folder.with_name(f".{folder.name}.building-{os.getpid()}")
    try:
        _write_into(building, products, seed, flaws, show_progress)
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write_into(folder: Path, count: int, seed: int, flaws: bool, show_progress: bool) -> None:
    (folder / "images").mkdir(parents=True)
    rows: list[Product] = []
    for index in track(range(count), "drawing products", disable=not show_progress):
        product = make_product(index, seed=seed)
        if flaws and index in FLAWS_AT:
            product = FLAWS[FLAWS_AT[index]](product, rows)
        if product.image_bytes is not None and product.image_path is not None:
            (folder / product.image_path).write_bytes(product.image_bytes)
        rows.append(replace(product, image_bytes=None))
    _write_table(folder / "products.parquet", PRODUCT_COLUMNS, [_product_row(row) for row in rows])
    # A duplicated id shows the same goods, so one label row says it all, and joins stay one to one.
    labels = {row.product_id: _label_row(row) for row in rows if row.product_id is not None}
    _write_table(folder / "labels.parquet", LABEL_COLUMNS, list(labels.values()))


def _write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[str | None, ...]]) -> None:
    schema = pa.schema([(column, pa.string()) for column in columns], metadata=MADE_BY)
    values = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
    pq.write_table(pa.table(values, schema=schema), path)


def _product_row(product: Product) -> tuple[str | None, ...]:
    return product.product_id, product.title, product.description, product.image_path


def _label_row(product: Product) -> tuple[str | None, ...]:
    goods = product.goods
    style = goods.article.style
    return product.product_id, product.group_id, goods.color, goods.pattern, style


def make_product(index: int, *, seed: int) -> Product:
    """Invents product number `index`; every eighth is a second photograph of the one before."""
    model = index - 1 if index % 8 == 7 else index
    goods = choose_goods(np.random.default_rng([seed, model, 0]))
    picture_rng = np.random.default_rng([seed, index, 1])
    picture, alpha, word = _picture(goods, np.random.default_rng([seed, model, 2]), picture_rng)
    image_bytes, suffix = _encode(picture, alpha, goods.color, picture_rng)
    text_rng = np.random.default_rng([seed, model, 3])
    return Product(
        product_id=f"demo-{index:05d}",
        title=_title(goods, word, text_rng),
        description=_description(goods, word, text_rng),
        image_path=f"images/demo-{index:05d}{suffix}",
        group_id=f"demo-{seed}-{model:05d}",
        goods=goods,
        image_bytes=image_bytes,
    )


def choose_goods(rng: np.random.Generator) -> Goods:
    weights = np.array([article.weight for article in ARTICLES])
    article = ARTICLES[int(rng.choice(len(ARTICLES), p=weights / weights.sum()))]
    color = _weighted(PALETTES[article.palette], rng)
    pattern = None
    if article.profile is not None:
        profile = PATTERN_PROFILES[article.profile]
        if color == "multi":
            profile = {name: share for name, share in profile.items() if name in MULTI_PATTERNS}
        pattern = _weighted(profile, rng)
    brand, model, gender = (_one_of(words, rng) for words in (BRANDS, MODELS, article.genders))
    return Goods(article, color, pattern, brand, model, gender)


def _weighted(weights: Mapping[Key, float], rng: np.random.Generator) -> Key:
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _one_of(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _title(goods: Goods, word: str, rng: np.random.Generator) -> str:
    """A title as shops write them; six in ten name the color, and patterns are named less."""
    names_color = rng.random() < 0.62
    orders = [order for order in TITLE_ORDERS if ("{color}" in order) or not names_color]
    order = orders[int(rng.integers(len(orders)))]
    says_pattern = goods.pattern is not None and rng.random() < (
        0.15 if goods.pattern == "solid" else 0.5
    )
    title = order.format(
        brand=goods.brand,
        gender=goods.gender,
        model=goods.model,
        article=_one_of(goods.article.names, rng),
        color=_color_phrase(goods.color, word, rng).title() if names_color else "",
        pattern=_one_of(PATTERN_WORDS[goods.pattern], rng)
        if says_pattern and goods.pattern
        else "",
    )
    title = " ".join(title.split()).replace(" ,", ",").strip(" ,-")
    return title.lower() if rng.random() < 0.06 else title


def _color_phrase(color: str, word: str, rng: np.random.Generator) -> str:
    """The label or the shade's own word, as "Navy", "Navy Blue" or "Blue"."""
    if color == "multi":
        return _one_of(("multi", "multicolour", "multicoloured", "assorted"), rng)
    kind = rng.random()
    if word == color or kind < 0.45:
        return color
    return f"{word} {color}" if kind < 0.65 and color not in word else word


def _description(goods: Goods, word: str, rng: np.random.Generator) -> str:
    article = _one_of(goods.article.names, rng).lower()
    says_color, says_pattern = rng.random() < 0.33, rng.random() < 0.4
    color = _color_phrase(goods.color, word, rng) if says_color else ""
    pattern = ""
    if says_pattern and goods.pattern is not None:
        pattern = _one_of(PATTERN_WORDS[goods.pattern], rng).lower()
    profile = goods.article.profile
    material = _one_of(MATERIALS.get(profile, CLOTH_MATERIALS), rng)
    lead = _one_of(("This", "The", "Our new"), rng)
    first = f"{lead} {color} {pattern} {article} from {goods.brand} comes in {material}."
    sentences = [" ".join(first.split()), _one_of(FITS, rng), _one_of(CARES, rng)]
    return " ".join(sentences[: int(rng.integers(1, 4))])


FRAMES = ((1.0, 1.0), (1.0, 1.0), (0.75, 1.0), (0.75, 1.0), (0.8, 1.0), (1.0, 0.8))
HEIGHTS: dict[int, float] = {
    96: 3, 128: 5, 160: 6, 200: 12, 224: 14, 256: 16, 300: 16, 320: 10, 400: 10, 512: 4, 640: 2,
    800: 1, 1000: 1,
}  # fmt: skip


def _picture(
    goods: Goods, cloth_rng: np.random.Generator, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image, str]:
    """Draws and photographs the goods: the picture, its transparency and the shade's word."""
    height = _weighted(HEIGHTS, rng)
    frame = FRAMES[int(rng.integers(len(FRAMES)))]
    size = (round(height * frame[0]), round(height * frame[1]))
    kind = goods.article.drawing
    is_worn = DRAWINGS[kind].can_be_worn and rng.random() < 0.4
    reach = reach_of(kind, is_worn=is_worn)
    # Twice the pixels that will be kept; more than 900 are not worth their time.
    side = int(np.clip(2 * height, 320, 900))
    unit = side / 2 / reach
    cloth = weave_cloth(
        goods.color,
        goods.pattern,
        side=side,
        unit=unit,
        is_top=DRAWINGS[kind].is_top,
        rng=cloth_rng,
    )
    pixels, alpha = draw_product(kind, cloth, unit=unit, is_worn=is_worn, rng=rng)
    picture, transparency = photograph(pixels, alpha, size, on_edge=is_worn, rng=rng)
    return picture, transparency, cloth.word


def photograph(
    pixels: Image.Image,
    alpha: Image.Image,
    size: tuple[int, int],
    *,
    on_edge: bool,
    rng: np.random.Generator,
) -> tuple[Image.Image, Image.Image]:
    """Places a cut-out on a studio background with a shadow, and adds the camera's noise.

    `on_edge` lets the frame's lower edge cut what is cut already: a model's legs.
    """
    fill = rng.uniform(0.78, 0.96)
    factor = fill * min(size[0] / pixels.width, size[1] / pixels.height)
    small = (max(1, int(pixels.width * factor)), max(1, int(pixels.height * factor)))
    pixels = pixels.resize(small, Image.Resampling.LANCZOS)
    # The outline is not antialiased, and of a large picture there are hardly more pixels than kept.
    alpha = alpha.filter(ImageFilter.BoxBlur(0.7)).resize(small, Image.Resampling.BOX)
    spare = np.array(size) - small
    left, top = (spare * rng.uniform(0.35, 0.65, 2)).astype(int).tolist()
    if on_edge:
        top = size[1] - small[1]
    cut_out = Image.new("L", size, 0)
    cut_out.paste(alpha, (left, top))
    picture = _background(size, rng)
    drop = max(1, round(size[1] * 0.012))
    shadow = Image.new("L", size, 0)
    shadow.paste(cut_out, (0, drop))
    shadow = shadow.filter(ImageFilter.GaussianBlur(drop * 1.6))
    strength = rng.uniform(0.08, 0.4)
    picture = Image.composite(
        Image.new("RGB", size, (70, 70, 74)), picture, shadow.point(lambda v: int(v * strength))
    )
    picture.paste(pixels, (left, top), alpha)
    values = np.asarray(picture, dtype=np.float32)
    noise = rng.standard_normal((size[1], size[0], 1), dtype=np.float32) * rng.uniform(0.5, 3.0)
    # Noise on a blown-out white background would be clipped, as in a camera.
    exposed = values * rng.uniform(0.96, 1.03) + noise
    return Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8)), cut_out


def _background(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """White mostly; off-white, light grey with a falling light, or slightly tinted."""
    kind = rng.random()
    if kind < 0.6:
        return Image.new("RGB", size, (255, 255, 255))
    level = rng.uniform(225, 250) if kind < 0.85 else rng.uniform(195, 225)
    tint = rng.uniform(-7, 7, 3) if kind > 0.75 else np.zeros(3)
    fall = np.linspace(4, -14 if kind > 0.7 else 4, size[1], dtype=np.float32)
    column = np.clip(level + tint + fall[:, None], 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(column[:, None, :], size[0], axis=1))


FORMATS: dict[str, float] = {
    "jpeg": 70, "png": 8, "webp": 7, "png alpha": 4, "png palette": 3, "jpeg cmyk": 3,
    "jpeg rotated": 5,
}  # fmt: skip
# Orientation tag of EXIF, and what a camera that writes it did to the upright picture.
ORIENTATION_TAG = 0x0112
TURNS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def _encode(
    picture: Image.Image, alpha: Image.Image, color: str, rng: np.random.Generator
) -> tuple[bytes, str]:
    """Writes a picture in one of the formats that shops deliver; returns the bytes and a suffix."""
    kind = _weighted(FORMATS, rng)
    quality = int(rng.integers(45, 96))
    # Without its colors a picture is only true of a product that has none.
    if kind == "jpeg" and color in ("black", "grey", "white") and rng.random() < 0.12:
        return _saved(picture.convert("L"), "JPEG", quality=quality), ".jpg"
    if kind == "png":
        return _saved(picture, "PNG"), ".png"
    if kind == "png alpha":
        return _saved(_with_alpha(picture, alpha), "PNG"), ".png"
    if kind == "png palette":
        return _saved(picture.quantize(128), "PNG"), ".png"
    if kind == "webp":
        return _saved(picture, "WEBP", quality=quality, method=2), ".webp"
    if kind == "jpeg cmyk":
        return _saved(picture.convert("CMYK"), "JPEG", quality=quality), ".jpg"
    if kind == "jpeg rotated":
        orientation = (3, 6, 8)[int(rng.integers(3))]
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        turned = picture.transpose(TURNS[orientation])
        return _saved(turned, "JPEG", quality=quality, exif=exif), ".jpg"
    return _saved(picture, "JPEG", quality=quality), ".jpg"


def _with_alpha(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    transparent = picture.copy()
    transparent.putalpha(alpha)
    return transparent


def _saved(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def _as_jpeg(product: Product) -> Product:
    """The same product under a name that ends in .jpg: flaws are told by content, not by name."""
    return replace(product, image_path=f"images/{product.product_id}.jpg")


def _without_image_file(product: Product, _: list[Product]) -> Product:
    return replace(product, image_bytes=None)


def _without_image_path(product: Product, _: list[Product]) -> Product:
    return replace(product, image_path=None, image_bytes=None)


def _with_truncated_jpeg(product: Product, _: list[Product]) -> Product:
    picture = Image.open(io.BytesIO(product.image_bytes or b"")).convert("RGB")
    whole = _saved(picture, "JPEG", quality=85)
    return replace(_as_jpeg(product), image_bytes=whole[: len(whole) * 2 // 5])


def _with_text_for_image(product: Product, _: list[Product]) -> Product:
    return replace(_as_jpeg(product), image_bytes=b"<html><body>404 Not Found</body></html>\n")


def _with_empty_image_file(product: Product, _: list[Product]) -> Product:
    return replace(_as_jpeg(product), image_bytes=b"")


def _without_text(product: Product, _: list[Product]) -> Product:
    return replace(product, title="", description=None)


def _with_nothing_to_read(product: Product, _: list[Product]) -> Product:
    return replace(product, title="  ", description="", image_bytes=None)


def _with_the_id_before(product: Product, rows: list[Product]) -> Product:
    before = rows[-1]
    title = f"{before.goods.brand} {before.goods.article.names[0]}, second listing"
    return replace(before, title=title, description="Listed twice by two sellers.")


def _without_id(product: Product, _: list[Product]) -> Product:
    return replace(product, product_id=None)


def _with_very_long_description(product: Product, _: list[Product]) -> Product:
    sentence = f"{product.description} "
    return replace(product, description=(sentence * (20_000 // len(sentence) + 1))[:20_000])


def _with_title(title: str) -> Callable[[Product, list[Product]], Product]:
    return lambda product, _: replace(product, title=title)


def _with_path_out_of_the_folder(product: Product, _: list[Product]) -> Product:
    return replace(product, image_path="../../etc/passwd", image_bytes=None)


def _with_absurd_size(product: Product, _: list[Product]) -> Product:
    """A picture of 100 bytes whose header promises 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(64))
    chunks = (_png_chunk(b"IHDR", header), _png_chunk(b"IDAT", data), _png_chunk(b"IEND", b""))
    path = f"images/{product.product_id}.png"
    return replace(product, image_path=path, image_bytes=b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


FLAWS: dict[str, Callable[[Product, list[Product]], Product]] = {
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
