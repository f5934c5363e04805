"""What a classifier that has never seen a product makes of its picture.

A tower knows the pictures that it was trained on, and what is then trained on its features trusts
pictures more than it should. So two classifiers are trained first, each on one half of the groups;
each says what the pictures of the other half look like to one that does not know them, and the
label is no longer the only teacher: cross-fitting, with the soft labels of Hinton et al. (arXiv
1503.02531).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError
from enrich.training.batches import Batches, Condition
from enrich.training.config import TrainingConfig
from enrich.training.evaluation import ask
from enrich.training.labelled import LabelledProducts
from enrich.whole import whole_file

_PRODUCTS = "products"
_RECIPE = "settings"


def half_of(groups: np.ndarray) -> np.ndarray:
    """Returns 0 or 1 for each row (N,), the same for all rows of a group and in every run."""
    return np.random.default_rng(0).integers(0, 2, groups.max() + 1)[groups]


def write_opinions(
    file: Path,
    config: TrainingConfig,
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    device: torch.device,
) -> None:
    """Writes the probabilities of every label, read from the pictures of these rows alone.

    Beside them the settings of the training, so that whoever listens can say to whom.
    """
    rows = rows[batches.images.has_image[rows]]
    attributes = classifier.config.attributes
    answers: dict[str, list[np.ndarray]] = {attribute: [] for attribute in attributes}
    for _, output in ask(classifier, batches, rows, Condition.NO_TEXT, device):
        for attribute, scores in output.logits.items():
            answers[attribute].append(scores.float().softmax(1).half().cpu().numpy())
    recipe = config.model_dump_json(exclude={"cache"})
    arrays: dict[str, Any] = {_PRODUCTS: np.array(_digest(batches.products))}
    arrays[_RECIPE] = np.array(recipe)
    for attribute, labels in attributes.items():
        arrays[_name_labels(attribute)] = np.array(labels)
        arrays[attribute] = np.zeros((len(batches.products), len(labels)), np.float16)
        if len(rows):
            arrays[attribute][rows] = np.concatenate(answers[attribute])
    with whole_file(file) as partial, partial.open("wb") as out:
        np.savez_compressed(out, **arrays)


def read_opinions(
    files: Sequence[Path],
    products: LabelledProducts,
    attributes: Mapping[str, tuple[str, ...]],
) -> dict[str, np.ndarray]:
    """Returns for each of the attributes float16 (N, labels); rows of zeros are without opinion.

    Raises:
        ConfigError: a file cannot be read, or is of other products, attributes or labels.
    """
    opinions = {
        attribute: np.zeros((len(products), len(labels)), np.float16)
        for attribute, labels in attributes.items()
    }
    wanted = _digest(products)
    for file in files:
        with _opened(file) as found:
            if str(found[_PRODUCTS]) != wanted:
                raise ConfigError(
                    f"the opinions in {file} are of other products: give the same catalogs in "
                    "the same order, or train that half again"
                )
            for attribute, labels in attributes.items():
                if tuple(found[_name_labels(attribute)]) != labels:
                    raise ConfigError(f"{file} knows other labels of '{attribute}'")
                opinions[attribute] += found[attribute]
    return opinions


def read_recipe(file: Path) -> dict[str, Any]:
    """Returns the settings of the training that a file of opinions is from.

    Raises:
        ConfigError: the file does not say; those of earlier versions do not.
    """
    with _opened(file) as found:
        recipe: dict[str, Any] = json.loads(str(found[_RECIPE]))
    return recipe


@contextmanager
def _opened(file: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Opens a file of opinions; what it lacks is a ConfigError, also where it is asked for."""
    try:
        with np.load(file) as found:
            yield found
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"no opinions can be read in {file}: {error}; train that half again"
        ) from error


def _name_labels(attribute: str) -> str:
    return f"labels of {attribute}"


def _digest(products: LabelledProducts) -> str:
    digest = hashlib.sha256(repr((products.texts, products.image_paths)).encode())
    digest.update(np.ascontiguousarray(products.groups).tobytes())
    return digest.hexdigest()
