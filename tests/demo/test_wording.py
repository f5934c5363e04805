"""Titles say what real titles say: not always the color."""

import re

import pandas as pd

from enrich.demo.flaws import FLAWS_AT
from schemas.labels import LABEL_WORDS


def test_color_is_named_in_about_six_titles_of_ten(
    products: pd.DataFrame, labels: pd.DataFrame
) -> None:
    sound = products[~products.index.isin(FLAWS_AT)]
    # A second photograph has the title of the first.
    rows = sound.merge(labels, on="product_id").drop_duplicates("group_id")
    named = [
        _names_color(title, color) for title, color in zip(rows.title, rows.color, strict=True)
    ]
    assert len(named) > 100 and 0.5 < sum(named) / len(named) < 0.75


def _names_color(text: str, color: str) -> bool:
    words = (color, *LABEL_WORDS["color"][color])
    return any(re.search(rf"\b{re.escape(word)}\b", text.lower()) for word in words)
