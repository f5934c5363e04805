"""Answers to invent runs from: what a small shop's classifier might say."""

import numpy as np
import pandas as pd

from expectations.drill.answers import DrawnAnswers, encode
from schemas.labels import ABSTAINED

ATTRIBUTES = ("color", "style")
COLOR_SHARES = {"red": 0.4, "blue": 0.2, "green": 0.2, ABSTAINED: 0.2}
STYLE_SHARES = {"casual": 0.8, "formal": 0.2}


def make_answers(
    rows: int,
    *,
    seed: int = 0,
    color_shares: dict[str, float] = COLOR_SHARES,
    sureness: float = 6.0,
    text_only: float = 0.05,
    category: str | None = None,
    model_version: str = "model-1",
) -> DrawnAnswers:
    """Draws answers; a higher `sureness` moves confidences towards 1."""
    rng = np.random.default_rng(seed)

    def draw(shares: dict[str, float]) -> pd.Categorical:
        return encode(list(rng.choice(list(shares), rows, p=list(shares.values()))), "none")

    return DrawnAnswers(
        model_version,
        {"color": draw(color_shares), "style": draw(STYLE_SHARES)},
        {attribute: rng.beta(sureness, 1, rows) for attribute in ATTRIBUTES},
        draw({"image+text": 1 - text_only, "text": text_only}),
        None if category is None else encode([category] * rows, "none"),
    )


def join(*parts: DrawnAnswers) -> DrawnAnswers:
    """Returns the answers of several categories as one catalog's."""

    def columns(*coded: pd.Categorical) -> pd.Categorical:
        return encode([str(name) for one in coded for name in one], "none")

    return DrawnAnswers(
        parts[0].model_version,
        {a: columns(*(part.labels[a] for part in parts)) for a in ATTRIBUTES},
        {a: np.concatenate([part.confidences[a] for part in parts]) for a in ATTRIBUTES},
        columns(*(part.modalities for part in parts)),
        columns(*(part.categories for part in parts if part.categories is not None)),
    )
