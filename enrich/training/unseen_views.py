"""What pictures look like to an image tower that was not trained on them.

A tower knows the pictures that it was trained on: what is then trained on its features of the same
pictures would trust them more than any others. So two more towers are trained, each on one half of
the groups, and of a picture the features are taken from the tower that has not seen it: cross-
fitting. A linear map takes them to the space of the one tower that the classifier keeps. It is
fitted to pictures that none of the three was trained on.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError
from enrich.files.whole import whole_file
from enrich.precision import autocast
from enrich.progress import watch
from enrich.training.labelled import half_of
from enrich.training.pixel_cache import CachedImages, alone, is_array, make_array
from enrich.training.published.pretrained import load_image_tower
from enrich.training.view_cache import CachedViews, cache_views, frozen_digest

_BATCH = 128
# Keeps a map from following noise: a share of the mean square of each feature.
_RIDGE = 1e-3


def cache_unseen_views(
    classifier: Classifier,
    images: CachedImages,
    groups: np.ndarray,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    half_towers: Sequence[Path],
    views: int,
) -> CachedViews:
    """Returns the features of every picture; of those to train on, as seen for the first time.

    Args:
        classifier: Its image tower is frozen, and was trained on all rows to train on.
        images: The decoded pictures.
        groups: The group of near-identical products of each row.
        train_rows: Those whose features are taken from the tower of the other half.
        validation_rows: Those that the maps are fitted to.
        half_towers: Checkpoints of two towers, of the first and of the second half of the groups.
        views: The pictures as they are, and `views` - 1 random variations of all of them.

    Raises:
        ConfigError: a tower cannot be read, or differs in more than its upper stages.
    """
    towers = [_with_tower(classifier, checkpoint) for checkpoint in half_towers]
    digest = hashlib.sha256(frozen_digest(classifier, "image_features").encode())
    for rows in (train_rows, validation_rows, half_of(groups)):
        digest.update(np.ascontiguousarray(rows).tobytes())
    for tower in towers:
        digest.update(frozen_digest(tower, "image_features").encode())
    files = [
        images.folder / f"image_features-unseen-{digest.hexdigest()[:12]}-{view}.npy"
        for view in range(views)
    ]
    if not all(map(is_array, files)):
        lower = cache_views(classifier, images, "image_lower", views)
        validation_rows = validation_rows[images.has_image[validation_rows]]
        maps = [_fit_map(tower, classifier, lower, validation_rows) for tower in towers]
        half = half_of(groups)[train_rows]
        others = np.setdiff1d(np.arange(len(images.pixels)), train_rows)
        for view, file in enumerate(files):
            with alone(images.folder), whole_file(file) as partial:
                tokens = next(_features(classifier, lower.views[view], others[:1]))[1][0]
                size = (len(images.pixels), *tokens.shape)
                array = make_array(partial, np.float16, size)
                for rows, features in _features(classifier, lower.views[view], others):
                    array[rows] = features.half().numpy()
                for number, (tower, to_own) in enumerate(zip(towers, maps, strict=True)):
                    strange = train_rows[half != number]
                    for rows, features in _features(tower, lower.views[view], strange):
                        array[rows] = (_with_one(features) @ to_own).half().numpy()
                array.flush()
    return CachedViews("image_features", tuple(np.load(file, mmap_mode="r") for file in files))


def _with_tower(classifier: Classifier, checkpoint: Path) -> Classifier:
    """Returns a copy of the classifier with the image tower of a checkpoint."""
    other = copy.deepcopy(classifier)
    load_image_tower(other.image_tower.pretrained(), checkpoint)
    if frozen_digest(other, "image_lower") != frozen_digest(classifier, "image_lower"):
        raise ConfigError(
            f"the image tower of {checkpoint} has other lower stages: train it and the whole one "
            "with upper_stages_only, from the same weights"
        )
    return other.eval()


def _fit_map(
    tower: Classifier, own: Classifier, lower: CachedViews, rows: np.ndarray
) -> Float[Tensor, "D C"]:
    """Returns the linear map from a tower's features to the own one's, by least squares."""
    inner = outer = torch.zeros((), dtype=torch.float64)
    for view in lower.views:
        for (_, given), (_, wanted) in zip(
            _features(tower, view, rows), _features(own, view, rows), strict=True
        ):
            known = _with_one(given).flatten(0, 1).double()
            inner = inner + known.T @ known
            outer = outer + known.T @ wanted.flatten(0, 1).double()
    inner = inner + torch.diag(_RIDGE * inner.diagonal().clamp(min=1e-9))
    return torch.linalg.solve(inner, outer).float()


def _features(
    tower: Classifier, lower: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, Float[Tensor, "B M C"]]]:
    """Yields rows and what the tower makes of them, batch by batch."""
    parts = [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]
    for part in watch(parts, "image features of an unknowing tower", len(parts)):
        given = torch.from_numpy(np.asarray(lower[part], dtype=np.float32))
        with torch.inference_mode(), autocast(tower.device):
            features = tower.image_tower.upper(given.to(tower.device))
        yield part, features.float().cpu()


def _with_one(features: Float[Tensor, "B M C"]) -> Float[Tensor, "B M D"]:
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
