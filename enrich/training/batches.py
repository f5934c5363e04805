"""Labelled rows to model inputs, with what training does to them and evaluation takes away.

Training hides modalities and label words at random: where the color stands in the title a
classifier otherwise stops looking at the picture, and then fails on products whose text is silent.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch

from enrich.classifiers.interface import ModelInputs
from enrich.tokenizer import TextEncoder
from enrich.training.cache import CachedImages
from enrich.training.labelled import LabelledProducts

_MAX_SHIFT_PX = 6


class Condition(StrEnum):
    """What an evaluation takes away from its products."""

    AS_IS = "as is"
    NO_TEXT = "text removed"
    NO_IMAGE = "image removed"
    WORDS_MASKED = "label words masked"


@dataclass(frozen=True, slots=True)
class Hiding:
    """Probabilities with which training hides a row's text, image and label words."""

    text: float
    image: float
    label_words: float


class LabelWords:
    """Removes the words that give a label away from a text."""

    def __init__(
        self,
        attributes: dict[str, tuple[str, ...]],
        synonyms: dict[str, dict[str, tuple[str, ...]]],
    ) -> None:
        words = {label for labels in attributes.values() for label in labels}
        for by_label in synonyms.values():
            words.update(word for known in by_label.values() for word in known)
        # Longest first, so that "sea green" goes before "green".
        alternatives = "|".join(map(re.escape, sorted(words, key=lambda w: (-len(w), w))))
        self._pattern = re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)

    def remove(self, text: str) -> str:
        """Returns the text without any label word of any attribute."""
        return self._pattern.sub(" ", text)


class Batches:
    """Makes model inputs of labelled rows; `features`, when set, stand in for pixels."""

    def __init__(
        self,
        products: LabelledProducts,
        images: CachedImages,
        encoder: TextEncoder,
        label_words: LabelWords,
    ) -> None:
        self.products = products
        self.images = images
        self.encoder = encoder
        self.label_words = label_words
        self.features: np.ndarray | None = None
        self._has_text = np.array([bool(text) for text in products.texts])

    def training(self, rows: np.ndarray, hiding: Hiding, rng: np.random.Generator) -> ModelInputs:
        """Returns the rows with modalities and label words hidden at random."""
        texts = [self.products.texts[row] for row in rows]
        for at in np.flatnonzero(rng.random(len(rows)) < hiding.label_words):
            texts[at] = self.label_words.remove(texts[at])
        draw = rng.random(len(rows))
        has_text = self._has_text[rows] & (draw >= hiding.text)
        # One draw for both, so that no row loses both; a row with one modality keeps it.
        has_image = self.images.has_image[rows] & (draw < 1 - hiding.image)
        has_text |= ~has_image & self._has_text[rows]
        has_image |= ~has_text & self.images.has_image[rows]
        return self._inputs(rows, texts, has_image, has_text, rng)

    def evaluation(self, rows: np.ndarray, condition: Condition) -> ModelInputs:
        """Returns the rows under one condition, the same ones every time."""
        texts = [self.products.texts[row] for row in rows]
        has_text, has_image = self._has_text[rows], self.images.has_image[rows]
        if condition is Condition.WORDS_MASKED:
            texts = [self.label_words.remove(text) for text in texts]
        elif condition is Condition.NO_TEXT:
            has_text = has_text & ~has_image
        elif condition is Condition.NO_IMAGE:
            has_image = has_image & ~has_text
        return self._inputs(rows, texts, has_image, has_text, None)

    def _inputs(
        self,
        rows: np.ndarray,
        texts: list[str],
        has_image: np.ndarray,
        has_text: np.ndarray,
        augment: np.random.Generator | None,
    ) -> ModelInputs:
        texts = [text if seen else "" for text, seen in zip(texts, has_text, strict=True)]
        token_ids, token_mask = self.encoder(texts)
        pixels = features = None
        if self.features is not None:
            features = torch.from_numpy(self.features[rows]).float()
        else:
            pixels = torch.from_numpy(self.images.pixels[rows])
            if augment is not None:
                pixels = flip_and_shift(pixels, augment)
        return ModelInputs(
            token_ids=token_ids,
            token_mask=token_mask,
            has_image=torch.from_numpy(has_image),
            has_text=torch.from_numpy(has_text),
            pixel_values=pixels,
            image_features=features,
        )


def flip_and_shift(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Mirrors half of the pictures and moves all by a few pixels; colors stay as they are."""
    mirrored = torch.from_numpy(rng.random(len(pixels)) < 0.5)
    pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    down, right = rng.integers(-_MAX_SHIFT_PX, _MAX_SHIFT_PX + 1, size=2).tolist()
    return pixels.roll((down, right), dims=(2, 3))


def shuffled(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields all rows in random order, in batches; a last short one is left out.

    Rows inside a batch are sorted, which makes reading them from a memory map cheap.
    """
    order = rng.permutation(rows)
    for start in range(0, len(order) - size + 1, size):
        yield np.sort(order[start : start + size])
