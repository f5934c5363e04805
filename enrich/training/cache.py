"""Decoded pixels and frozen features on disk, so that an epoch does not wait for JPEGs.

Both are memory-mapped arrays in the order of the labelled products. A cache belongs to one list of
images at one size; another list gets another folder.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from enrich.classifiers.interface import Classifier
from enrich.images import ImageProblem, ImageStore, decode
from enrich.precision import autocast
from enrich.preprocess import ImageShape, to_pixels
from enrich.training.labelled import LabelledProducts

_THREADS = 4
_BATCH = 64


@dataclass(frozen=True, slots=True)
class CachedImages:
    """`pixels` is uint8 (N, 3, S, S); `has_image` (N,) is False where nothing could be read."""

    pixels: np.ndarray
    has_image: np.ndarray
    folder: Path


def cache_pixels(products: LabelledProducts, shape: ImageShape, root: Path) -> CachedImages:
    """Decodes every image once, or opens what an earlier run decoded."""
    listing = repr((shape, products.image_roots, products.image_paths))
    folder = root / f"images-{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
    pixels_file, has_image_file = folder / "pixels.npy", folder / "has_image.npy"
    # has_image is written last: its presence says that the pixels are complete.
    if not has_image_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        size = (len(products), 3, shape.size_px, shape.size_px)
        pixels = np.lib.format.open_memmap(pixels_file, mode="w+", dtype=np.uint8, shape=size)
        has_image = np.zeros(len(products), dtype=bool)
        with ThreadPoolExecutor(_THREADS) as pool:
            decoded = pool.map(lambda row: _decode_one(products, row, shape), range(len(products)))
            for row, one in enumerate(track(decoded, "decoding images", len(products))):
                if one is not None:
                    pixels[row], has_image[row] = one, True
        pixels.flush()
        np.save(has_image_file, has_image)
    return CachedImages(np.load(pixels_file, mmap_mode="r"), np.load(has_image_file), folder)


def cache_features(
    classifier: Classifier, images: CachedImages, device: torch.device
) -> np.ndarray:
    """Returns the frozen image tower's features, float16 (N, M, C), computed once.

    The file is named after the tower's weights, so a tower that was trained on gets a new one.
    """
    file = images.folder / f"features-{_weights_digest(classifier)}.npy"
    if not file.exists():
        partial = file.with_suffix(".partial")
        features: np.memmap | None = None
        classifier.eval()
        for rows in track(list(_slices(len(images.pixels))), "computing image features"):
            pixels = torch.from_numpy(np.array(images.pixels[rows])).to(device)
            with torch.inference_mode(), autocast(device):
                out = classifier.image_tower.features(classifier.normalise_pixels(pixels))
            if features is None:
                size = (len(images.pixels), *out.shape[1:])
                features = np.lib.format.open_memmap(
                    partial, mode="w+", dtype=np.float16, shape=size
                )
            features[rows] = out.half().cpu().numpy()
        if features is not None:
            features.flush()
        partial.rename(file)
    return np.load(file, mmap_mode="r")


def _decode_one(products: LabelledProducts, row: int, shape: ImageShape) -> np.ndarray | None:
    store = ImageStore(products.image_roots[row])
    try:
        data = store.read(products.image_paths[row])
        return to_pixels(decode(data, limits=store.limits, target_px=shape.size_px), shape)
    except ImageProblem:
        return None


def _slices(total: int) -> Iterator[slice]:
    return (slice(start, min(start + _BATCH, total)) for start in range(0, total, _BATCH))


def _weights_digest(classifier: Classifier) -> str:
    digest = hashlib.sha256()
    for tensor in classifier.image_tower.pretrained().state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
