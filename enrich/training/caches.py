"""Decoded pixels on disk, and what frozen towers make of pictures and texts.

So an epoch waits neither for JPEGs nor for a tower that learns nothing. Pixels and image features
are memory-mapped arrays in the order of the labelled products, text features are by distinct text.
A folder belongs to one list of image files at one size. Of trainings that fill it at once each
writes whole files, which are equal.

A tower reads the pictures that it was trained on better than others, and heads
that are trained on their features rely on pictures too much. Cross-fitting avoids that: two more
towers are trained, each on one half of the groups, and the features of a picture are those of the
tower that has not seen it. A linear map takes them to the space of the classifier's own tower. The
map is fitted to pictures that none of the three towers was trained on.
"""

import copy
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.classifiers.int8 import Int8Linear
from enrich.classifiers.interface import Classifier
from enrich.classifiers.towers import TextEncoder
from enrich.engine.device import autocast, cast_weights
from enrich.engine.prefetch import open_pool, prefetch
from enrich.engine.unreadable import describe_failures
from enrich.errors import ConfigError, StorageFailed
from enrich.images.decoding import decode_pixels
from enrich.images.settings import ImageProblem, ImageShape
from enrich.images.store import ImageStore
from enrich.places import atomic_write
from enrich.records import Status
from enrich.terminal import rank, say, watch
from enrich.training.augmentation import vary
from enrich.training.config import CacheKind
from enrich.training.labelled import LabelledProducts
from enrich.training.pretrained import load_image_tower

# At least so many threads: most of them wait if images come from an object store.
_THREADS = 4
# Decoded pictures that wait for a slower disk.
_AHEAD = 256
_PIXELS, _STORE_FAILED = "pixels.npy", "store_failed"
# Written last: its presence says that the pixels are complete.
_HAS_IMAGE = "has_image.npy"


@dataclass(frozen=True, slots=True)
class CachedImages:
    """Decoded pictures of all products, uint8 (N, 3, S, S), and their cache folder.

    `has_image` (N,) is False for pictures that could not be read.
    """

    pixels: np.ndarray
    has_image: np.ndarray
    folder: Path


def cache_pixels(products: LabelledProducts, shape: ImageShape, root: Path) -> CachedImages:
    """Decode every image once, or open the pixels that an earlier run decoded.

    If a store failed to give an image, the next run decodes all images anew. Raises ConfigError if
    images are named, and 0 of them can be read.
    """
    files = list(zip(products.image_roots, products.image_paths, strict=True))
    stores = {image_root: ImageStore(image_root) for image_root in set(products.image_roots)}
    stamps = [_stamp(stores[image_root], path) for image_root, path in files]
    folder = root / f"images-{_digest((shape, files, stamps))[:12]}"
    if not _is_decoded(folder):
        _decode_into(folder, products, shape)
    pixels, has_image = np.load(folder / _PIXELS, mmap_mode="r"), np.load(folder / _HAS_IMAGE)
    return CachedImages(pixels, has_image, folder)


def _stamp(store: ImageStore, path: str | None) -> tuple[int, int] | None:
    """Return size and time of a local file; None for other or missing files."""
    file = store.find_local(path)
    if file is None:
        return None
    try:
        found = Path(file).stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def _digest(listed: object) -> str:
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def _is_decoded(folder: Path) -> bool:
    # After a failure of a store the next run decodes anew, but not the other processes of this run.
    is_final = rank() > 0 or not (folder / _STORE_FAILED).exists()
    return is_final and (folder / _HAS_IMAGE).exists()


def _decode_into(folder: Path, products: LabelledProducts, shape: ImageShape) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / _PIXELS) as partial:
        pixels = make_array(partial, np.uint8, (len(products), 3, shape.size_px, shape.size_px))
        problems = decode_all(products, shape, pixels)
        if warning := describe_failures(problems):
            say(warning)
        pixels.flush()
    has_failed = any(one and one.status is Status.IMAGE_UNREADABLE for one in problems)
    if has_failed:
        (folder / _STORE_FAILED).touch()
    with atomic_write(folder / _HAS_IMAGE) as partial, partial.open("wb") as out:
        np.save(out, np.array([one is None for one in problems], dtype=bool))
    if not has_failed:
        (folder / _STORE_FAILED).unlink(missing_ok=True)


def make_array(file: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> np.memmap:
    """Create an array of zeros in a file; raise StorageFailed on a full disk."""
    array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    try:
        with file.open("r+b") as made:
            # Writing to a memory map on a full disk would kill the process.
            os.posix_fallocate(made.fileno(), 0, file.stat().st_size)
    except OSError as error:
        file.unlink()  # which takes all free room
        raise StorageFailed(
            f"{file.parent} has too little room ({error.strerror}): expected "
            f"{array.nbytes / 1e9:.1f} GB for the pictures. Make room, or set 'cache' to another "
            "folder."
        ) from error
    return array


def decode_all(
    products: LabelledProducts, shape: ImageShape, pixels: np.ndarray
) -> list[ImageProblem | None]:
    """Fill `pixels`, and return the problem of each image."""
    problems: list[ImageProblem | None] = []
    with open_pool(max(_THREADS, torch.get_num_threads())) as pool:
        decoded = prefetch(
            range(len(products)),
            lambda row: pool.submit(decode_one, products, row, shape).result,
            _AHEAD,
        )
        for row, result in enumerate(watch(decoded, "decoding images", len(products))):
            if isinstance(result, ImageProblem):
                problems.append(result)
            else:
                pixels[row] = result
                problems.append(None)
    return problems


def decode_one(
    products: LabelledProducts, row: int, shape: ImageShape
) -> np.ndarray | ImageProblem:
    """Decode the image of a row, or return its problem."""
    root, path = products.image_roots[row], products.image_paths[row]
    store = ImageStore(root)
    try:
        return decode_pixels(store.read(path), limits=store.limits, shape=shape)
    except ImageProblem as problem:
        return problem


_BATCH, _UPPER_BATCH, _TEXT_BATCH = 64, 128, 256
# Regularises a linear map, as a share of the mean square of each feature.
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class CachedViews:
    """Features in the place of pixels: an array float16 (N, ...) for each view.

    Rows are in the order of the products. The first view is of the pictures as they are.
    """

    kind: CacheKind
    views: tuple[np.ndarray, ...]


def cache_views(
    classifier: Classifier, images: CachedImages, kind: CacheKind, views: int
) -> CachedViews:
    """Compute the features of all pictures once, or open those of an earlier run.

    The image tower is frozen (`image_features`), or frozen except for its upper stages
    (`image_lower`). The first view has the pictures as they are, the others random variations.
    """
    # Files are named after the frozen weights, the readable pictures and the variations, so that a
    # change of one of these gives new files.
    name = f"{kind}-{frozen_digest(classifier, kind)}{_which_pictures(images.has_image)}"
    files = [images.folder / f"{name}-0.npy"]
    files += [
        images.folder / f"{name}-{_variation_digest()}-{view}.npy" for view in range(1, views)
    ]
    for view, file in enumerate(files):
        if not file.exists():
            _compute_view(classifier, images, kind, view, file)
    return CachedViews(kind, tuple(np.load(file, mmap_mode="r") for file in files))


def _compute_view(
    classifier: Classifier, images: CachedImages, kind: CacheKind, view: int, file: Path
) -> None:
    tower = classifier.image_tower
    if classifier.device.type == "cpu":
        # Fused, as the engine runs the tower. On a GPU there is nothing to fuse.
        tower = copy.deepcopy(tower)
        tower.fuse()
        cast_weights(tower, classifier.device)
    compute = tower.features if kind == "image_features" else tower.lower
    random = torch.Generator().manual_seed(view)
    computed: np.memmap | None = None
    classifier.eval()
    slices = [slice(at, at + _BATCH) for at in range(0, len(images.pixels), _BATCH)]
    with atomic_write(file) as partial:
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


@dataclass(frozen=True, slots=True)
class CachedTexts:
    """Token embeddings of a frozen text tower, an array float16 (T, M, D), by text.

    `pooled_at` says which token stands for the whole of each text.
    """

    at: dict[str, int]
    token_ids: Int[Tensor, "T L"]
    token_mask: Bool[Tensor, "T L"]
    pooled_at: Int[Tensor, " T"]
    embeds: np.ndarray

    def look_up(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the inputs of a classifier for cached texts, by name."""
        rows = np.array([self.at[text] for text in texts])
        return {
            "token_ids": self.token_ids[rows],
            "token_mask": self.token_mask[rows],
            "text_features": torch.from_numpy(self.embeds[rows]).float(),
            "text_pooled_at": self.pooled_at[rows],
        }


def digest_text_tower(classifier: Classifier) -> str:
    """Return a digest of the weights that cached texts depend on."""
    digest = hashlib.sha256()
    for tensor in classifier.text_tower.state_dict().values():
        # As bytes, because numpy knows no bfloat16.
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def cache_texts(
    classifier: Classifier, texts: Iterable[str], encode_texts: TextEncoder, folder: Path
) -> CachedTexts:
    """Compute what the frozen text tower makes of each text, or open an earlier run's."""
    every = list(dict.fromkeys(texts))
    parts = [every[at : at + _TEXT_BATCH] for at in range(0, len(every), _TEXT_BATCH)]
    encoded = [encode_texts(part) for part in parts]
    # Of one length, because a tower may put a token behind the texts of a batch.
    width = max(ids.shape[1] for ids, _ in encoded)
    ids, mask = (
        torch.cat([F.pad(one, (0, width - one.shape[1])) for one in both])
        for both in zip(*encoded, strict=True)
    )
    digest = hashlib.sha256(f"{digest_text_tower(classifier)} {every!r}".encode())
    digest.update(ids.numpy().tobytes())
    files = [
        folder / f"texts-{digest.hexdigest()[:12]}-{name}.npy" for name in ("pooled", "embeds")
    ]
    if not all(map(Path.exists, files)):
        with atomic_write(files[0]) as pooled, atomic_write(files[1]) as embeds:
            _compute_texts(classifier, ids, mask, pooled, embeds)
    pooled_at, features = (np.load(file, mmap_mode="r") for file in files)
    at = {text: row for row, text in enumerate(every)}
    return CachedTexts(at, ids, mask, torch.from_numpy(np.array(pooled_at)), features)


def _compute_texts(
    classifier: Classifier,
    ids: Int[Tensor, "T L"],
    mask: Bool[Tensor, "T L"],
    pooled: Path,
    embeds: Path,
) -> None:
    classifier.eval()
    pooled_at, features = [], None
    slices = [slice(at, at + _TEXT_BATCH) for at in range(0, len(ids), _TEXT_BATCH)]
    for rows in watch(slices, "text features", len(slices)):
        given = (ids[rows].to(classifier.device), mask[rows].to(classifier.device))
        with torch.inference_mode(), autocast(classifier.device):
            out = classifier.text_tower(*given)
        if features is None:
            features = make_array(embeds, np.float16, (len(ids), *out.embeds.shape[1:]))
        features[rows] = out.embeds.half().cpu().numpy()
        pooled_at.append(out.pooled_at.cpu().numpy())
    if features is not None:
        features.flush()
    with pooled.open("wb") as written:
        np.save(written, np.concatenate(pooled_at))


def _which_pictures(has_image: np.ndarray) -> str:
    """Return a digest of the readable pictures, "" if all; a later run may read more."""
    return "" if has_image.all() else f"-{hashlib.sha256(has_image.tobytes()).hexdigest()[:8]}"


def _variation_digest() -> str:
    """Return a digest of a varied picture, which changes with the code of `vary`."""
    picture = torch.full((8, 3, 32, 32), 255, dtype=torch.uint8)
    picture[:, :, 8:24, 12:20] = torch.tensor([180, 40, 60], dtype=torch.uint8).view(3, 1, 1)
    varied = vary(picture, torch.Generator().manual_seed(0))
    return hashlib.sha256(varied.numpy().tobytes()).hexdigest()[:12]


def frozen_digest(classifier: Classifier, kind: CacheKind) -> str:
    """Return a digest of the weights that cached features depend on."""
    tower, backbone = classifier.image_tower, classifier.image_tower.pretrained()
    trained = {id(p) for p in tower.upper_parameters()} if kind == "image_lower" else set()
    rounded = [part.rounded() for part in backbone.modules() if isinstance(part, Int8Linear)]
    digest = hashlib.sha256()
    # Not state_dict, whose tensors are other objects than the parameters.
    for tensor in itertools.chain(backbone.parameters(), backbone.buffers(), *rounded):
        if id(tensor) not in trained:
            digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def cross_fit_views(
    classifier: Classifier,
    images: CachedImages,
    half: np.ndarray,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    half_towers: Sequence[Path],
    views: int,
) -> CachedViews:
    """Compute features of all rows, cross-fitted for the rows to train on.

    The classifier's frozen image tower was trained on all `train_rows`; the two `half_towers` were
    trained on `half` 0 and on `half` 1 of the groups. A row to train on gets the features of the
    tower of the other half. Linear maps are fitted to the rows to validate. Views are those of
    `cache_views`. Raises ConfigError if a tower cannot be read, or differs in more than its upper
    stages.
    """
    towers = [_with_tower(classifier, checkpoint) for checkpoint in half_towers]
    digest = hashlib.sha256(frozen_digest(classifier, "image_features").encode())
    for rows in (train_rows, validation_rows, half):
        digest.update(np.ascontiguousarray(rows).tobytes())
    for tower in towers:
        digest.update(frozen_digest(tower, "image_features").encode())
    name = f"image_features-unseen-{digest.hexdigest()[:12]}{_which_pictures(images.has_image)}"
    files = [images.folder / f"{name}-{view}.npy" for view in range(views)]
    if not all(map(Path.exists, files)):
        lower = cache_views(classifier, images, "image_lower", views)
        validation_rows = validation_rows[images.has_image[validation_rows]]
        maps = [fit_map(tower, classifier, lower, validation_rows) for tower in towers]
        others = np.setdiff1d(np.arange(len(images.pixels)), train_rows)
        for view, file in enumerate(files):
            with atomic_write(file) as partial:
                tokens = next(_features(classifier, lower.views[view], others[:1]))[1][0]
                size = (len(images.pixels), *tokens.shape)
                array = make_array(partial, np.float16, size)
                for rows, features in _features(classifier, lower.views[view], others):
                    array[rows] = features.half().numpy()
                for number, (tower, to_own) in enumerate(zip(towers, maps, strict=True)):
                    foreign = train_rows[half[train_rows] != number]
                    for rows, features in _features(tower, lower.views[view], foreign):
                        array[rows] = (_with_one(features) @ to_own).half().numpy()
                array.flush()
    return CachedViews("image_features", tuple(np.load(file, mmap_mode="r") for file in files))


def _with_tower(classifier: Classifier, checkpoint: Path) -> Classifier:
    """Return a copy of the classifier with the image tower of a checkpoint."""
    other = copy.deepcopy(classifier)
    load_image_tower(other.image_tower.pretrained(), checkpoint)
    if frozen_digest(other, "image_lower") != frozen_digest(classifier, "image_lower"):
        raise ConfigError(
            f"the image tower of {checkpoint} does not fit: found other lower stages, expected "
            "those of image_tower. Train both with upper_stages_only, from the same weights."
        )
    return other.eval()


def fit_map(
    tower: Classifier, own: Classifier, lower: CachedViews, rows: np.ndarray
) -> Float[Tensor, "D C"]:
    """Fit the linear map from a tower's features to those of the own tower."""
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
    """Yield rows and their features, batch by batch."""
    parts = [rows[at : at + _UPPER_BATCH] for at in range(0, len(rows), _UPPER_BATCH)]
    for part in watch(parts, "cross-fitted image features", len(parts)):
        given = torch.from_numpy(np.asarray(lower[part], dtype=np.float32))
        with torch.inference_mode(), autocast(tower.device):
            features = tower.image_tower.upper(given.to(tower.device))
        yield part, features.float().cpu()


def _with_one(features: Float[Tensor, "B M C"]) -> Float[Tensor, "B M D"]:
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
