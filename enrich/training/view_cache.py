"""What the frozen part of an image tower makes of every picture, on disk beside the pixels.

Memory-mapped arrays in the order of the labelled products, each computed by one training while the
others wait. Knows nothing of files of images.
"""

import copy
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from enrich.classifiers.eight_bits import EightBitLinear
from enrich.classifiers.interface import Classifier
from enrich.files.whole import whole_file
from enrich.precision import autocast, cast_weights
from enrich.progress import watch
from enrich.training.augmentation import vary
from enrich.training.config import CacheKind
from enrich.training.pixel_cache import CachedImages, alone, is_array, make_array

_BATCH = 64


@dataclass(frozen=True, slots=True)
class CachedViews:
    """What stands in for pixels: per view an array float16 (N, ...) in the order of the products.

    The first view is of the pictures as they are.
    """

    kind: CacheKind
    views: tuple[np.ndarray, ...]


def cache_views(
    classifier: Classifier, images: CachedImages, kind: CacheKind, views: int
) -> CachedViews:
    """Returns what the frozen part of the image tower makes of every picture, computed once.

    Args:
        classifier: Its image tower is frozen, wholly (`image_features`) or but for its upper stages
            (`image_lower`).
        images: The decoded pictures.
        kind: Which input of the classifier the cache stands in for.
        views: The pictures as they are, and `views` - 1 random variations of all of them.
    """
    # Named after the frozen weights, the pictures that could be read and how they are varied: where
    # one of these has changed, the files have other names and are made anew.
    name = f"{kind}-{frozen_digest(classifier, kind)}{_which_pictures(images.has_image)}"
    files = [images.folder / f"{name}-0.npy"]
    files += [
        images.folder / f"{name}-{_variation_digest()}-{view}.npy" for view in range(1, views)
    ]
    for view, file in enumerate(files):
        if not is_array(file):
            with alone(images.folder):
                if not is_array(file):
                    _compute_view(classifier, images, kind, view, file)
    return CachedViews(kind, tuple(np.load(file, mmap_mode="r") for file in files))


def _compute_view(
    classifier: Classifier, images: CachedImages, kind: CacheKind, view: int, file: Path
) -> None:
    tower = classifier.image_tower
    if classifier.device.type == "cpu":
        # As the engine runs it. On a GPU there is nothing to merge, and memory is dear.
        tower = copy.deepcopy(tower)
        tower.quicken()
        cast_weights(tower, classifier.device)
    compute = tower.features if kind == "image_features" else tower.lower
    random = torch.Generator().manual_seed(view)
    computed: np.memmap | None = None
    classifier.eval()
    slices = [slice(at, at + _BATCH) for at in range(0, len(images.pixels), _BATCH)]
    with whole_file(file) as partial:
        for rows in watch(slices, f"image features, view {view + 1}", len(slices)):
            pixels = torch.from_numpy(np.array(images.pixels[rows]))
            if view:
                pixels = vary(pixels, random)
            with torch.inference_mode(), autocast(classifier.device):
                out = compute(classifier.normalise_pixels(pixels.to(classifier.device)))
            if computed is None:
                size = (len(images.pixels), *out.shape[1:])
                computed = make_array(partial, np.float16, size)
            computed[rows] = out.half().cpu().numpy()
        if computed is not None:
            computed.flush()


def _which_pictures(has_image: np.ndarray) -> str:
    """Returns a digest of which pictures could be read, "" if all: another run may read more."""
    return "" if has_image.all() else f"-{hashlib.sha256(has_image.tobytes()).hexdigest()[:8]}"


def _variation_digest() -> str:
    """Returns a digest of one varied picture: it changes when the code of `vary` does."""
    picture = torch.full((8, 3, 32, 32), 255, dtype=torch.uint8)
    picture[:, :, 8:24, 12:20] = torch.tensor([180, 40, 60], dtype=torch.uint8).view(3, 1, 1)
    varied = vary(picture, torch.Generator().manual_seed(0))
    return hashlib.sha256(varied.numpy().tobytes()).hexdigest()[:12]


def frozen_digest(classifier: Classifier, kind: CacheKind) -> str:
    tower, backbone = classifier.image_tower, classifier.image_tower.pretrained()
    trained = {id(p) for p in tower.upper_parameters()} if kind == "image_lower" else set()
    rounded = [part.rounded() for part in backbone.modules() if isinstance(part, EightBitLinear)]
    digest = hashlib.sha256()
    # Not state_dict: its tensors are copies of what the parameters hold, and not the same objects.
    for tensor in itertools.chain(backbone.parameters(), backbone.buffers(), *rounded):
        if id(tensor) not in trained:
            digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
