"""Which products are near-identical, so that none may be measured by what another has taught."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def group_near_identical(
    texts: Sequence[str], pictures: Sequence[str | None], most_texts: int
) -> np.ndarray:
    """Returns each product's group (N,), numbered in the order of their first products.

    Products that share a text or a picture are in the same one, and so are those that are linked by
    others. Products of one text are often one product in several colors, and those of one picture
    one product under several names. A text or a picture that is missing is shared with none.

    Args:
        texts: As the classifier reads them, see `build_text`; "" is none.
        pictures: What names each picture; None and blanks are none.
        most_texts: A picture under more different texts than these is a placeholder, and makes no
            products alike.
    """
    text_of, _ = pd.factorize(np.array(texts, dtype=object))
    picture_of, names = pd.factorize(np.array([*map(_strip, pictures)], dtype=object))
    of_picture = np.unique(picture_of * len(texts) + text_of) // max(1, len(texts))
    is_placeholder = np.bincount(of_picture, minlength=len(names)) > most_texts
    by_text = _each_alone(text_of, np.array([not text for text in texts], dtype=bool))
    by_picture = _each_alone(picture_of, (is_placeholder | (names == ""))[picture_of])
    groups = np.arange(len(texts))
    # A group is named after one of its products. Each product takes the least group of those that
    # share its text or picture, and so does the one that its group is named after; then each takes
    # the group of the one that it names. So a long chain takes few rounds, and not one a link.
    while True:
        joined = _least(_least(groups, by_text), by_picture)
        np.minimum.at(joined, groups, joined.copy())
        joined = joined[joined]
        if np.array_equal(joined, groups):
            return pd.factorize(groups)[0]
        groups = joined


def _strip(name: str | None) -> str:
    return (name or "").strip()


def _each_alone(keys: np.ndarray, is_alone: np.ndarray) -> np.ndarray:
    """Returns the keys (N,), all below 2 N, with one of its own for each that `is_alone`."""
    return np.where(is_alone, len(keys) + np.arange(len(keys)), keys)


def _least(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Returns for each product the least group of those with the same key."""
    least = np.full(2 * len(keys), len(keys))
    np.minimum.at(least, keys, groups)
    return least[keys]
