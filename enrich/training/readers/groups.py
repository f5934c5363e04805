"""What groups of near-identical products are called where a catalog does not name them all.

Knows no layout.
"""

from collections.abc import Sequence

from enrich.near_identical import group_near_identical
from enrich.text import build_text

# Sizes of one article, each with a text of its own, are fewer.
MOST_TEXTS_OF_A_PICTURE = 20


def name_groups(
    given: Sequence[str | None],
    own: Sequence[str],
    titles: Sequence[str | None],
    descriptions: Sequence[str | None],
    image_paths: Sequence[str | None],
) -> list[str]:
    """Returns each row's group; a name that is given stays, whatever the rows share.

    A row without one is in the group of those with which it shares a text or a picture. That has
    the least of the names that are given to them, or else of their own, whatever the order of the
    rows.
    """
    named = [(name or "").strip() for name in given]
    if all(named):
        return named
    texts = [build_text(*both) for both in zip(titles, descriptions, strict=True)]
    alike = group_near_identical(texts, image_paths, MOST_TEXTS_OF_A_PICTURE).tolist()
    least: dict[int, tuple[bool, str]] = {}
    for group, name, without in zip(alike, named, own, strict=True):
        rank = (not name, name or without)
        least[group] = min(rank, least.get(group, rank))
    return [name or least[group][1] for group, name in zip(alike, named, strict=True)]
