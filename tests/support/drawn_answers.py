"""Answers to invent runs from: what a small catalog's classifier might say."""

import numpy as np
import pandas as pd

from bench.gate_runs import Answers
from schemas.labels import ABSTAINED

ATTRIBUTES = ("color", "style")
COLOR_SHARES = {"red": 0.4, "blue": 0.2, "green": 0.2, ABSTAINED: 0.2}
STYLE_SHARES = {"casual": 0.8, "formal": 0.2}
LABELS = {"color": ("red", "blue", "green"), "style": ("casual", "formal")}


def make_answers(
    rows: int,
    *,
    seed: int = 0,
    color_shares: dict[str, float] = COLOR_SHARES,
    sureness: float = 6.0,
    text_only: float = 0.05,
    category: str | None = None,
    model_version: str = "model-1",
) -> Answers:
    """Draw answers; a higher `sureness` moves confidences towards 1."""
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {
        "modalities": rng.choice(["text", "image+text"], rows, p=[text_only, 1 - text_only]),
        "model_version": model_version,
        "product_category": category,
    }
    for attribute, shares in (("color", color_shares), ("style", STYLE_SHARES)):
        drawn = pd.Series(rng.choice(list(shares), rows, p=list(shares.values())), dtype=object)
        columns[attribute] = drawn.where(drawn != ABSTAINED, None)
        columns[f"{attribute}_confidence"] = rng.beta(sureness, 1, rows)
        # The label that it would have given.
        columns[f"{attribute}_best"] = drawn.where(drawn != ABSTAINED, LABELS[attribute][0])
    return Answers(pd.DataFrame(columns, index=range(rows)))


def join(*parts: Answers) -> Answers:
    """Return the answers of several categories as one catalog's."""
    return Answers(pd.concat([part.rows for part in parts], ignore_index=True))


def relabel(answers: Answers, attribute: str, label: str, share: float = 1.0) -> Answers:
    """Return the answers with a label in place of others, in a share of all rows."""
    rows = answers.rows.copy()
    others = np.flatnonzero(rows[attribute] != label)
    chosen = others[: round(share * len(rows))]
    for column in (attribute, f"{attribute}_best"):
        rows.loc[rows.index[chosen], column] = label
    return Answers(rows, answers.before)
