"""Draws one of several possibilities, equally or by weight."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

Key = TypeVar("Key", str, int)


def weighted(weights: Mapping[Key, float], rng: np.random.Generator) -> Key:
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def one_of(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
