"""Chooses what is sold: an article with a color, a pattern, a brand and a model."""

from dataclasses import dataclass

import numpy as np

from enrich.demo.articles import ARTICLES, MULTI_PATTERNS, PALETTES, PATTERN_PROFILES, Article
from enrich.demo.chance import one_of, weighted

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


@dataclass(frozen=True)
class Goods:
    """What is sold, apart from how it is photographed and described."""

    article: Article
    color: str
    pattern: str | None
    brand: str
    model: str
    gender: str


def choose_goods(rng: np.random.Generator) -> Goods:
    article = weighted({article: article.weight for article in ARTICLES}, rng)
    color = weighted(PALETTES[article.palette], rng)
    pattern = None
    if article.profile is not None:
        profile = PATTERN_PROFILES[article.profile]
        if color == "multi":
            profile = {name: share for name, share in profile.items() if name in MULTI_PATTERNS}
        pattern = weighted(profile, rng)
    brand, model, gender = (one_of(words, rng) for words in (BRANDS, MODELS, article.genders))
    return Goods(article, color, pattern, brand, model, gender)
