"""Model inputs of labelled rows, changed for training and for evaluation.

Training hides modalities and label words: a classifier that always finds the color in the title
stops looking at the picture, and then fails on products whose text does not name the color.

A batch of training is dealt out in parts, over processes, and over time to save memory. Every
random draw is seeded by phase, epoch, step and part. So a resumed run draws what the unbroken run
drew, and two processes draw what one process draws in two parts.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.towers import TextEncoder
from enrich.images.settings import ImageShape
from enrich.lexicon import ProductText
from enrich.terminal import rank
from enrich.training.augmentation import LabelWords, mask, relabel, reword, swap, vary
from enrich.training.caches import (
    CachedImages,
    CachedTexts,
    CachedViews,
    cache_pixels,
    cache_texts,
    cache_views,
    digest_text_tower,
)
from enrich.training.config import LossName, TrainingConfig
from enrich.training.distributed import processes
from enrich.training.labelled import UNLABELLED, LabelledProducts


class Condition(StrEnum):
    """A change that an evaluation makes to its products; each keeps a modality."""

    AS_IS = "as is"
    NO_TEXT = "text removed"
    NO_IMAGE = "image removed"
    WORDS_MASKED = "label words masked"
    OTHER_TEXT = "text of another product"


def shown_in_training(config: TrainingConfig) -> frozenset[Condition]:
    """Return the conditions that a training shows to its classifier."""
    if config.drop_text == 1:
        return frozenset({Condition.NO_TEXT})
    shown = {
        Condition.NO_TEXT: config.drop_text + config.image_alone,
        Condition.NO_IMAGE: config.drop_image,
        Condition.WORDS_MASKED: config.mask_label_words,
        Condition.OTHER_TEXT: config.swap_text,
    }
    whole = {Condition.AS_IS} if config.drop_text + config.drop_image < 1 else set()
    return frozenset(whole | {one for one, share in shown.items() if share > 0})


def in_phase(config: TrainingConfig, loss: LossName) -> TrainingConfig:
    """Return the settings with the shares of changed rows in a phase of this loss."""
    if loss == "multitask":
        return config
    # Contrast compares pictures with their own texts, so both must be there.
    hidden = ("drop_text", "drop_image", "swap_text", "reword_text", "relabel_text")
    return config.model_copy(update=dict.fromkeys(hidden, 0.0))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A batch with random changes; `own_text` is False for texts of another product.

    `targets` are the labels to learn from text and picture together, those of a relabelled text
    included.
    """

    inputs: ModelInputs
    own_text: np.ndarray
    targets: np.ndarray


class Shown(NamedTuple):
    """Texts of rows, masks of pictures and texts, and `wordings` for label words."""

    texts: list[str]
    has_image: np.ndarray
    has_text: np.ndarray
    wordings: list[ProductText]


_SILENT: ProductText = (None, None)


class Batches:
    """Model inputs of labelled rows; `cached` features take the place of pixels.

    Of a frozen text tower `texts` has what it makes of the texts, with and without label words.
    `soft` has soft labels of pictures, see `soft_labels.py`. Pictures of training are varied as
    catalogs vary, unless `varies` is False.
    """

    def __init__(
        self,
        products: LabelledProducts,
        images: CachedImages,
        encoder: TextEncoder,
        label_words: LabelWords,
        *,
        varies: bool = True,
    ) -> None:
        self.products = products
        self.images = images
        self.encoder = encoder
        self.label_words = label_words
        self.varies = varies
        self.cached: CachedViews | None = None
        self.texts: CachedTexts | None = None
        self.soft: np.ndarray | None = None
        self._known_texts: tuple[str, CachedTexts] | None = None
        self._has_text = np.array([bool(text) for text in products.texts])

    def cache_features(self, classifier: Classifier) -> None:
        """Cache the features of all pictures, which all conditions share."""
        self.cached = cache_views(classifier, self.images, "image_features", 1)

    def cache_texts(self, classifier: Classifier) -> None:
        """Cache what a frozen text tower makes of all texts, as they are and masked."""
        tower = digest_text_tower(classifier)
        # To mask and to cut all texts takes longer than many a training of heads.
        if self._known_texts is None or self._known_texts[0] != tower:
            whole = self.products.texts
            masked = (mask(text, self.label_words, is_alone=False) for text in whole)
            every = itertools.chain(whole, masked, [""])
            cached = cache_texts(classifier, every, self.encoder, self.images.folder)
            self._known_texts = (tower, cached)
        self.texts = self._known_texts[1]

    def training(self, rows: np.ndarray, config: TrainingConfig, rng: np.random.Generator) -> Drawn:
        """Return the rows with random changes of texts and modalities, see `in_phase`."""
        texts = [self.products.texts[row] for row in rows]
        pictured = self.images.has_image[rows]
        # A row without an image keeps its own text, the only sign of its labels.
        chosen = (rng.random(len(rows)) < config.swap_text) & pictured
        swapped = swap(texts, self.products.groups[rows], chosen, rng)
        reword(
            texts, self.label_words, (rng.random(len(rows)) < config.reword_text) & ~swapped, rng
        )
        for at in np.flatnonzero(rng.random(len(rows)) < config.mask_label_words):
            texts[at] = mask(texts[at], self.label_words, is_alone=not pictured[at])
        still_there = np.array([bool(text) for text in texts])
        draw = rng.random(len(rows))
        has_text = still_there & (draw >= config.drop_text)
        # One draw for both, so that no row loses both; a row with one modality keeps it.
        has_image = pictured & ((draw < 1 - config.drop_image) | swapped)
        has_text |= ~has_image & still_there
        has_image |= ~has_text & pictured
        relabelled = (rng.random(len(rows)) < config.relabel_text) & has_text & ~swapped
        targets = relabel(texts, self.label_words, self.products.targets[rows], relabelled, rng)
        return Drawn(self._inputs(rows, texts, has_image, has_text, rng), ~swapped, targets)

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows with an image or a text; the job quarantines all others."""
        return rows[self._has_text[rows] | self.images.has_image[rows]]

    def evaluation(
        self, rows: np.ndarray, condition: Condition, size: int
    ) -> Iterator[ModelInputs]:
        """Yield the rows under a condition in batches of `size`, the same every time."""
        texts, has_image, has_text, _ = self.under(rows, condition)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            yield self._inputs(rows[part], texts[part], has_image[part], has_text[part], None)

    def under(self, rows: np.ndarray, condition: Condition) -> Shown:
        """Return what a condition leaves of the rows."""
        has_text, has_image = self._has_text[rows], self.images.has_image[rows]
        sources = rows.copy()
        if condition is Condition.NO_TEXT:
            has_text = has_text & ~has_image
        elif condition is Condition.NO_IMAGE:
            has_image = has_image & ~has_text
        elif condition is Condition.OTHER_TEXT:
            both, others, is_other = self._exchange(rows)
            sources[both], has_text[both] = rows[others], is_other
        texts = [self.products.texts[row] for row in sources]
        told = zip(sources, has_text, strict=True)
        wordings = [self.products.wordings[row] if seen else _SILENT for row, seen in told]
        if condition is Condition.WORDS_MASKED:
            wordings = [_SILENT] * len(rows)
            texts = [
                mask(text, self.label_words, is_alone=not seen)
                for text, seen in zip(texts, has_image, strict=True)
            ]
            has_text = np.array([bool(text) for text in texts])
        return Shown(texts, has_image, has_text, wordings)

    def _exchange(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the places of exchanged texts, whose texts they get, and if there is one."""
        both = np.flatnonzero(self._has_text[rows] & self.images.has_image[rows])
        if not len(both):
            return both, both, np.zeros(0, bool)
        from_row, is_other = other_group(self.products.groups[rows[both]])
        return both, both[from_row], is_other

    def _inputs(
        self,
        rows: np.ndarray,
        texts: list[str],
        has_image: np.ndarray,
        has_text: np.ndarray,
        augment: np.random.Generator | None,
    ) -> ModelInputs:
        texts = [text if seen else "" for text, seen in zip(texts, has_text, strict=True)]
        if self.texts is None:
            seen = dict(zip(("token_ids", "token_mask"), self.encoder(texts), strict=True))
        else:
            seen = self.texts.look_up(texts)
        if self.cached is not None:
            view = 0 if augment is None else augment.integers(len(self.cached.views))
            seen[self.cached.kind] = torch.from_numpy(self.cached.views[view][rows]).float()
        else:
            pixels = torch.from_numpy(self.images.pixels[rows])
            if augment is not None and self.varies:
                pixels = vary(pixels, torch.Generator().manual_seed(int(augment.integers(2**63))))
            seen["pixel_values"] = pixels
        return ModelInputs(
            has_image=torch.from_numpy(has_image),
            has_text=torch.from_numpy(has_text),
            **seen,
        )


def open_batches(
    products: LabelledProducts,
    shape: ImageShape,
    encoder: TextEncoder,
    label_words: LabelWords,
    cache: Path,
    *,
    varies: bool = True,
) -> Batches:
    """Return the products as model inputs, with pictures decoded into `cache`."""
    images = cache_pixels(products, shape, cache)
    return Batches(products, images, encoder, label_words, varies=varies)


def other_group(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a fixed permutation to rows of another group, and a mask of its success.

    If a group has more than half of the rows, it fails for some of them.
    """
    rng = np.random.default_rng(0)
    # Neighbouring groups may be alike too, so the groups are put into random order first.
    rank = rng.permutation(groups.max() + 1)[groups]
    order = np.argsort(rank, kind="stable")
    # Rows of a group are neighbours in this order. A step as long as the largest group leads out of
    # each group.
    permutation = np.empty_like(order)
    permutation[order] = np.roll(order, np.bincount(groups).max())
    return permutation, groups[permutation] != groups


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a batch that are computed at once.

    Texts of another product have a False `own_text`. `targets` are to be learnt from pictures and
    texts together, `image_targets` from the pictures alone, beside the probabilities `soft`, of all
    attributes side by side, where there are soft labels. `labelled` counts the labelled rows of
    the whole batch by attribute, `share` is the part's share of the batch's rows, and `seed` is
    that of its dropout, the same in every process and in a resumed run.
    """

    inputs: ModelInputs
    own_text: Bool[Tensor, " B"]
    targets: Int[Tensor, "B K"]
    image_targets: Int[Tensor, "B K"]
    groups: Int[Tensor, " B"]
    labelled: Int[Tensor, " K"]
    share: float
    seed: int
    soft: Float[Tensor, "B S"] | None = None

    def to(self, device: torch.device) -> "Part":
        """Return the part on `device`."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        moved = {n: one.to(device) for n, one in named.items() if hasattr(one, "to")}
        return replace(self, **moved)


def deal(
    batches: Batches,
    train_rows: np.ndarray,
    config: TrainingConfig,
    seed: tuple[int, ...],
    first_step: int,
) -> Iterator[list[Part]]:
    """Yield this process's parts of every batch of an epoch, from `first_step` on.

    `accumulate` counts the parts of all processes, which take turns. `seed` has the run's seed,
    phase and epoch.
    """
    products, count = batches.products, config.accumulate
    steps = enumerate(shuffled(train_rows, config.batch_size, np.random.default_rng(seed)))
    for step, batch in itertools.islice(steps, first_step, None):
        labelled = count_labelled(torch.from_numpy(products.targets[batch]))
        parts = []
        for part in range(rank(), count, processes()):
            rng = np.random.default_rng([*seed, step, part])
            # Rows are sorted, and neighbours are alike: so a part takes every `count`-th row.
            rows = batch[part::count]
            drawn = batches.training(rows, config, rng)
            parts.append(
                Part(
                    inputs=drawn.inputs,
                    own_text=torch.from_numpy(drawn.own_text),
                    targets=torch.from_numpy(drawn.targets),
                    image_targets=torch.from_numpy(products.targets[rows]),
                    soft=None if batches.soft is None else torch.from_numpy(batches.soft[rows]),
                    groups=torch.from_numpy(products.groups[rows]),
                    labelled=labelled,
                    share=len(rows) / len(batch),
                    seed=int(rng.integers(2**63)),
                )
            )
        yield parts


def count_labelled(targets: Int[Tensor, "B K"]) -> Int[Tensor, " K"]:
    """Count the labelled rows of each attribute."""
    return (targets != UNLABELLED).sum(0)


def shuffled(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield all rows in random order in batches, without a short last one.

    Rows inside a batch are sorted, so that a memory map reads them fast.
    """
    order = rng.permutation(rows)
    for start in range(0, len(order) - size + 1, size):
        yield np.sort(order[start : start + size])
