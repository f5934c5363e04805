"""Draws one of several possibilities, equally or by weight."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")
Item = TypeVar("Item")


def weighted(weights: Mapping[Key, float], rng: np.random.Generator) -> Key:
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def one_of(items: Sequence[Item], rng: np.random.Generator) -> Item:
    return items[int(rng.integers(len(items)))]
