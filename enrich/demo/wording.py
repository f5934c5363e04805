"""Titles and descriptions as shops write them."""

import numpy as np

from enrich.demo.chance import one_of
from enrich.demo.goods import Goods

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


def word_title(goods: Goods, word: str, rng: np.random.Generator) -> str:
    """Returns a title as shops write them: six in ten name the color, fewer the pattern.

    `word` is the shade's own name, such as navy.
    """
    names_color = rng.random() < 0.62
    orders = [order for order in TITLE_ORDERS if ("{color}" in order) or not names_color]
    order = one_of(orders, rng)
    says_pattern = goods.pattern is not None and rng.random() < (
        0.15 if goods.pattern == "solid" else 0.5
    )
    title = order.format(
        brand=goods.brand,
        gender=goods.gender,
        model=goods.model,
        article=one_of(goods.article.names, rng),
        color=_color_phrase(goods.color, word, rng).title() if names_color else "",
        pattern=one_of(PATTERN_WORDS[goods.pattern], rng) if says_pattern and goods.pattern else "",
    )
    title = " ".join(title.split()).replace(" ,", ",").strip(" ,-")
    return title.lower() if rng.random() < 0.06 else title


def word_description(goods: Goods, word: str, rng: np.random.Generator) -> str:
    """Returns one to three sentences: a third of the first ones name the color."""
    article = one_of(goods.article.names, rng).lower()
    says_color, says_pattern = rng.random() < 0.33, rng.random() < 0.4
    color = _color_phrase(goods.color, word, rng) if says_color else ""
    pattern = ""
    if says_pattern and goods.pattern is not None:
        pattern = one_of(PATTERN_WORDS[goods.pattern], rng).lower()
    profile = goods.article.profile
    material = one_of(MATERIALS.get(profile, CLOTH_MATERIALS), rng)
    lead = one_of(("This", "The", "Our new"), rng)
    first = f"{lead} {color} {pattern} {article} from {goods.brand} comes in {material}."
    sentences = [" ".join(first.split()), one_of(FITS, rng), one_of(CARES, rng)]
    return " ".join(sentences[: int(rng.integers(1, 4))])


def _color_phrase(color: str, word: str, rng: np.random.Generator) -> str:
    """Returns the label, the shade's own name, or both: "blue", "navy" or "navy blue"."""
    if color == "multi":
        return one_of(("multi", "multicolour", "multicoloured", "assorted"), rng)
    kind = rng.random()
    if word == color or kind < 0.45:
        return color
    return f"{word} {color}" if kind < 0.65 and color not in word else word
