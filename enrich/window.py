"""Products that go through the forward pass together: alike in length, each of them once.

Padding is computed too, so texts of about equal length share a batch. Knows nothing of how a
product is read or of what a batch is computed on.
"""

import itertools
import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from enrich.images.limits import ImageProblem
from enrich.lexicon import ProductText
from enrich.records import Modalities, Status


@dataclass(frozen=True, slots=True)
class Prepared:
    """A product read and decoded; `pixels` is uint8 (3, S, S) or None, `text` may be empty.

    `image_digest` is that of the file, where it was read. `wording` is title and
    description, in which label words are looked for.
    """

    product_id: str
    pixels: np.ndarray | None
    text: str
    status: Status
    error: str | None
    image_digest: str | None
    wording: ProductText

    @property
    def image_problem(self) -> ImageProblem | None:
        """What is the matter with the image; None if it was decoded."""
        return None if self.pixels is not None else ImageProblem(self.status, self.error or "")

    @property
    def modalities(self) -> Modalities | None:
        """What an answer can rest on; None if nothing could be read."""
        has_image, has_text = self.pixels is not None, bool(self.text)
        return Modalities.of(has_image, has_text) if has_image or has_text else None


def start_window(
    products: list[Prepared],
    batch_size: int,
    lanes: int,
    submit: Callable[[list[Prepared]], Future[Tensor]],
) -> Callable[[], tuple[list[Prepared], Tensor | None]]:
    """Cuts batches of about equal text length, in which equal products are one, and submits them.

    Returns what waits for the rows of all batches; they are in the order of the readable products.

    Their number is a multiple of `lanes`, so that no lane works while the others have nothing left.
    Two products are equal where their pixels are one and the same array and their texts are equal.
    """
    unlike: dict[tuple[int, str], Prepared] = {}
    keys = []
    for product in products:
        if product.modalities is not None:
            keys.append((id(product.pixels), product.text))
            unlike.setdefault(keys[-1], product)
    # Characters instead of tokens: near enough, and known before a text is cut into tokens.
    by_length = sorted(unlike, key=lambda key: len(key[1]))
    row_of = {key: row for row, key in enumerate(by_length)}
    batches = [
        submit([unlike[key] for key in by_length[some]])
        for some in even_slices(len(by_length), batch_size, lanes)
    ]

    def collect() -> tuple[list[Prepared], Tensor | None]:
        if not batches:
            return products, None
        joined = torch.cat([batch.result() for batch in batches])
        return products, joined[torch.tensor([row_of[key] for key in keys])]

    return collect


def even_slices(total: int, most: int, multiple: int) -> list[slice]:
    """Returns slices of about equal size that cover `total` rows, none of more than `most`.

    Their number is a multiple of `multiple`, as far as there are rows for it.
    """
    count = min(total, multiple * math.ceil(total / (most * multiple)))
    edges = [total * place // max(1, count) for place in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
