"""Chooses the products of a catalog that are most worth labelling.

After BADGE (Ash et al. 2020, arXiv 1906.03671): the gradient that a product's label would cause is
long where the classifier is unsure, and its direction tells between which labels. Products are
drawn far apart in the space of these gradients, by k-means++: so all are hard ones, and each is
hard in another way. BADGE takes the gradient by the last layer's weights; here it is that by the
scores. Three of four products are drawn blindly instead: thresholds rest on these labels too, and
on hard products alone none would be reached.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from enrich.adaptation.readings import encode_watched
from enrich.engine.engine import Engine
from enrich.files.atomic_write import atomic_write
from enrich.files.tables import guard, write_csv
from enrich.records import Product
from enrich.text import build_text

_SHOWN = ("product_id", "title", "image_path")
_BLIND_FOR_ONE_HARD = 3


@dataclass(frozen=True, slots=True)
class Guesses:
    """What the classifier says of N readable products.

    `labels` are the likeliest ones, per attribute. `moves` (N, D) is the gradient by the scores if
    they were right: the probabilities less 1 for the likeliest label, over all attributes.
    """

    product_ids: list[str]
    labels: dict[str, list[str]]
    moves: np.ndarray


def write_suggestions(
    engine: Engine, products: list[Product], count: int, known_ids: Container[str], file: Path
) -> int:
    """Writes a CSV to fill in: a product a line, its guessed labels, and a column for each label.

    Args:
        engine: Whose uncertainty decides.
        products: The catalog, each product once.
        count: How many products are wanted.
        known_ids: Products that are labelled already.
        file: The CSV file, in a folder that is there.

    Returns:
        How many products were written; fewer than `count` where no more can be read, or all that
        are left have the text and picture of one that was written.
    """
    products = _without_twins(products, known_ids)
    guesses = guess(engine, products)
    known = [row for row, one in enumerate(guesses.product_ids) if one in known_ids]
    by_id = {product.product_id: product for product in products}
    columns = [*_SHOWN, *(f"guessed_{attribute}" for attribute in guesses.labels), *guesses.labels]
    lines = []
    for row in choose(guesses.moves, count, known):
        product = by_id[guesses.product_ids[row]]
        shown = {field: guard(getattr(product, field) or "") for field in _SHOWN}
        lines.append(
            shown
            | {f"guessed_{attribute}": found[row] for attribute, found in guesses.labels.items()}
            | dict.fromkeys(guesses.labels, "")
        )
    with atomic_write(file) as partial:
        write_csv(pd.DataFrame(lines, columns=columns), partial)
    return len(lines)


def _without_twins(products: list[Product], known_ids: Container[str]) -> list[Product]:
    """Returns one of the products with the same text and picture, a labelled one if there is one.

    Such as sizes of one article: they get the same answer, so a second label would tell nothing.
    """
    labelled_first = sorted(products, key=lambda product: product.product_id not in known_ids)
    first: dict[tuple[str, str | None], Product] = {}
    for product in labelled_first:
        text = build_text(product.title, product.description)
        first.setdefault((text, product.image_path), product)
    return list(first.values())


def guess(engine: Engine, products: list[Product]) -> Guesses:
    """Returns the classifier's guesses; products of which nothing can be read are left out.

    Raises:
        ConfigError: pictures are named, and not one of them can be read.
    """
    ids: list[str] = []
    labels: dict[str, list[str]] = {attribute: [] for attribute in engine.answerer.answers}
    moves: list[torch.Tensor] = []
    answerer = engine.answerer
    text_of = {one.product_id: (one.title, one.description) for one in products}
    for readable, packed in encode_watched(engine, products, "reading the catalog"):
        ids += [product_id for product_id, _ in readable]
        read_from = [modalities for _, modalities in readable]
        texts = [text_of[product_id] for product_id, _ in readable]
        named = answerer.find_named(texts)
        probs = answerer.probabilities(answerer.read(packed, read_from), read_from, named)
        moved = []
        for attribute, names in answerer.answers.items():
            best = probs[attribute].argmax(1)
            labels[attribute] += [names[at] for at in best.tolist()]
            answer = torch.nn.functional.one_hot(best, len(names))
            moved.append(probs[attribute] - answer)
        moves.append(torch.cat(moved, dim=1))
    return Guesses(ids, labels, torch.cat(moves).numpy() if moves else np.empty((0, 0)))


def choose(moves: np.ndarray, count: int, known: Iterable[int] = ()) -> list[int]:
    """Returns `count` rows to label, or all that are left, each once, as they were drawn.

    The first and every fourth one after it is a hard one, the three in between are blind draws.

    Args:
        moves: (N, D), see `Guesses`.
        count: How many rows are wanted.
        known: Rows that are labelled already; the drawn ones are unlike those too.
    """
    rng = np.random.default_rng(0)
    taken = np.zeros(len(moves), dtype=bool)
    distance = np.square(moves).sum(1)  # to a product that the classifier is sure of
    for row in known:
        taken[row] = True
        distance = np.minimum(distance, np.square(moves - moves[row]).sum(1))
    chosen: list[int] = []
    while len(chosen) < count and not taken.all():
        is_hard = len(chosen) % (1 + _BLIND_FOR_ONE_HARD) == 0
        worth = np.where(taken, 0, distance) if is_hard else ~taken
        worth = worth if worth.sum() > 0 else ~taken
        row = int(rng.choice(len(moves), p=worth / worth.sum()))
        taken[row] = True
        distance = np.minimum(distance, np.square(moves - moves[row]).sum(1))
        chosen.append(row)
    return chosen
