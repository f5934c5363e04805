"""What a classifier that has never seen a product makes of its picture.

A tower knows the pictures that it was trained on, and what is then trained on its features trusts
pictures more than it should. So two classifiers are trained first, each on one half of the groups;
each says what the pictures of the other half look like to one that does not know them, and the
label is no longer the only teacher: cross-fitting, with the soft labels of Hinton et al. (arXiv
1503.02531).
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError, name_some
from enrich.files.whole import whole_file
from enrich.text import fold_label
from enrich.training.batches import Batches
from enrich.training.conditions import Condition
from enrich.training.config import TrainingConfig
from enrich.training.evaluation import ask

_PRODUCTS = "products"
_RECIPE = "settings"
# Names that an attribute's array cannot have: of other arrays, and of parameters of numpy's.
_TAKEN = {_PRODUCTS, _RECIPE, "file", "allow_pickle"}
# Labels that are known here must hold more than this share of a row's probability; else the row
# counts as without an opinion.
_MOST = 0.5
# What numpy and zipfile raise for a file that is not there, is cut short or has a wrong byte.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error)


def half_of(groups: np.ndarray) -> np.ndarray:
    """Returns 0 or 1 for each row (N,), the same for all rows of a group and in every run."""
    return np.random.default_rng(0).integers(0, 2, groups.max() + 1)[groups]


def write_opinions(
    file: Path,
    config: TrainingConfig,
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
) -> None:
    """Writes the probabilities of every label, read from the pictures of these rows alone.

    Beside them the settings of the training: a checkpoint that learns from these opinions keeps
    them among its own, see `recipes.py`.
    """
    rows = rows[batches.images.has_image[rows]]
    attributes = classifier.config.attributes
    answers: dict[str, list[np.ndarray]] = {attribute: [] for attribute in attributes}
    for _, output in ask(classifier, batches, rows, Condition.NO_TEXT):
        for attribute, scores in output.logits.items():
            answers[attribute].append(scores.float().softmax(1).half().cpu().numpy())
    recipe = config.model_dump_json(exclude={"cache"})
    arrays: dict[str, Any] = {_PRODUCTS: np.array(_digest(batches))}
    arrays[_RECIPE] = np.array(recipe)
    for attribute, labels in attributes.items():
        arrays[_name_labels(attribute)] = np.array(labels)
        probs = np.zeros((len(batches.products), len(labels)), np.float16)
        if len(rows):
            probs[rows] = np.concatenate(answers[attribute])
        arrays[_name_probs(attribute)] = probs
    with whole_file(file) as partial, partial.open("wb") as out:
        np.savez_compressed(out, **arrays)


def read_opinions(
    files: Sequence[Path],
    batches: Batches,
    attributes: Mapping[str, tuple[str, ...]],
) -> dict[str, np.ndarray]:
    """Returns for each of the attributes float16 (N, labels); rows of zeros are without opinion.

    Labels are matched by name. The probabilities of labels that are not known here are left out,
    and the rest is scaled to add up to 1, if it was more than half.

    Raises:
        ConfigError: a file cannot be read, is of other products, pictures or attributes, or shares
            no label of an attribute.
    """
    opinions = {
        attribute: np.zeros((len(batches.products), len(labels)), np.float16)
        for attribute, labels in attributes.items()
    }
    wanted = _digest(batches)
    for file in files:
        with _opened(file) as arrays:
            if str(arrays[_PRODUCTS]) != wanted:
                raise ConfigError(
                    f"the opinions in {file} are of other products or pictures: give the same "
                    "catalogs in the same order, with the same picture files, or train that half "
                    "again"
                )
            for attribute, labels in attributes.items():
                _add(opinions[attribute], arrays, attribute, labels, file)
    return opinions


def _add(
    opinions: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    attribute: str,
    labels: Sequence[str],
    file: Path,
) -> None:
    """Adds a file's opinions of one attribute to those of other files, in place: (N, labels)."""
    known = [*map(fold_label, arrays[_name_labels(attribute)].tolist())]
    shared = [label for label in labels if fold_label(label) in known]
    if not shared:
        raise ConfigError(
            f"{file} shares no label of '{attribute}': it knows {name_some(known)}; "
            f"wanted: {name_some(labels)}. Train that half again with these labels, or "
            f"leave '{attribute}' out of opinion_shares"
        )
    places = [known.index(fold_label(label)) for label in shared]
    probs = _whole(arrays[_name_probs(attribute)][:, places])
    if (opinions.any(axis=1) & probs.any(axis=1)).any():
        raise ConfigError(
            f"{file} speaks of products that another file of opinions speaks of: give "
            "that of each half once"
        )
    opinions[:, [labels.index(label) for label in shared]] += probs


def read_recipe(file: Path) -> dict[str, Any]:
    """Returns the settings of the training that a file of opinions is from.

    Raises:
        ConfigError: the file does not say; those of earlier versions do not.
    """
    with _opened(file) as arrays:
        recipe: dict[str, Any] = json.loads(str(arrays[_RECIPE]))
    return recipe


@contextmanager
def _opened(file: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Opens a file of opinions; an array that it lacks raises ConfigError when it is read."""
    try:
        with np.load(file) as arrays:
            yield arrays
    except _DAMAGED as error:
        raise ConfigError(
            f"no opinions can be read in {file}: {error}; train that half again"
        ) from error


def _name_labels(attribute: str) -> str:
    return f"labels of {attribute}"


def _name_probs(attribute: str) -> str:
    return f"opinions of {attribute}" if attribute in _TAKEN else attribute


def _whole(probs: np.ndarray) -> np.ndarray:
    """Returns the probabilities (N, labels) such that each row adds up to 1, or to 0.

    0 where most of the probability was given to labels that are not among these.
    """
    total = probs.sum(1, keepdims=True, dtype=np.float32)
    whole: np.ndarray = np.divide(probs, total, out=np.zeros(probs.shape), where=total > _MOST)
    return whole.astype(np.float16)


def _digest(batches: Batches) -> str:
    products = batches.products
    said_of = (products.texts, products.image_paths, batches.images.pictures)
    digest = hashlib.sha256(repr(said_of).encode())
    digest.update(np.ascontiguousarray(products.groups).tobytes())
    return digest.hexdigest()
