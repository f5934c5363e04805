"""The inference engine: a stream of products in, one answer each out, in order.

While one batch computes, the next ones are read, decoded and tokenised, in a bounded window. A
product that cannot be read gets a status, never an exception. The module knows neither Spark nor
tables.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.manifest import Manifest, fetched_checkpoint
from enrich.engine.answerer import Answerer
from enrich.engine.columns import to_enriched
from enrich.engine.device import Heap, keep_freed_memory
from enrich.engine.forward import Forward
from enrich.engine.prefetch import (
    PixelCache,
    Prepared,
    one_intra_op_thread,
    open_pool,
    prefetch,
    submit_by_length,
)
from enrich.engine.spec import EngineSpec
from enrich.images.decoding import decode_pixels
from enrich.images.settings import ImageProblem
from enrich.records import EncodedProduct, EnrichedProduct, Product, Status
from enrich.text import build_text

# Products whose texts are sorted by length, in batches: so many of each lane, but with many lanes
# one of each is enough to sort, and their pictures take memory.
_WINDOW_BATCHES = 4
_ENOUGH_BATCHES = 16
# Windows that are with the forward pass: one computes, one waits.
_WINDOWS_AHEAD = 2
# On a GPU one lane's copies and collecting overlap the other's layers.
_GPU_LANES = 2
_NO_TEXT = "no text, which is all that this classifier reads"


class Engine:
    """A loaded classifier with everything around it; built once per process.

    Takes as many cores as torch has threads when it is built. On a CPU that many batches compute
    at a time, `lanes`, each in one thread of `forward`. Beside them read and decode
    `spec.read_threads`, or as many as there are cores where those are more.
    """

    def __init__(self, spec: EngineSpec, manifest: Manifest, device: torch.device) -> None:
        self.spec = spec
        if device.type == "cpu":
            keep_freed_memory()
        classifier, self.encode_texts = load_classifier(manifest, device)
        self.forward = Forward(classifier, device)
        self.answerer = Answerer(manifest, spec)
        self._manifest, self._device = manifest, device
        self._config = manifest.config
        self._store = spec.open_store()
        self._pixel_cache = PixelCache()
        cores = torch.get_num_threads()
        self.lanes = cores if device.type == "cpu" else _GPU_LANES
        self._read_threads = max(spec.read_threads, cores)
        self._heap = Heap(self.lanes)

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The whole classifier without `Forward`'s changes, loaded on first use."""
        with fetched_checkpoint(self.spec.checkpoint) as folder:
            return load_classifier(replace(self._manifest, folder=folder), self._device)[0]

    @property
    def window_size(self) -> int:
        """Number of products that are sorted into batches together.

        Fewer products make smaller batches.
        """
        of_a_lane = max(1, min(_WINDOW_BATCHES, _ENOUGH_BATCHES // self.lanes))
        return of_a_lane * self.lanes * self.spec.batch_size

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        """Yield one answer per product, in order, with bounded prefetch."""
        for window, packed in self.encode_windows(products):
            yield from to_enriched(_to_encoded(window, packed), self.answerer, self.spec.attributes)
            del window, packed  # else their memory is held while the next are waited for

    def encode(self, products: Iterable[Product]) -> Iterator[EncodedProduct]:
        """Yield one encoding per product, in order, with bounded prefetch."""
        for window, packed in self.encode_windows(products):
            yield from _to_encoded(window, packed)
            del window, packed

    def encode_windows(
        self, products: Iterable[Product], *, apart: bool = False
    ) -> Iterator[tuple[list[Prepared], Float[Tensor, "R ..."] | None]]:
        """Yield some products at a time with the packed vectors of the readable ones.

        The tensor is on the CPU and has a row for each product that has modalities, in order. It is
        None where no product has any. With `apart` a row has the vectors computed from each of
        `Modalities` alone, see `Forward.apart`.
        """
        encode = self.forward.apart if apart else self.forward
        size = self.window_size
        with (
            self._pixel_cache.cleared(),
            one_intra_op_thread(),
            open_pool(self._read_threads) as decoders,
            open_pool(self.lanes) as lanes,
        ):
            prepared = prefetch(
                products, lambda product: decoders.submit(self.prepare, product).result, size
            )
            windows = iter(lambda: list(itertools.islice(prepared, size)), [])
            for answered in prefetch(
                windows,
                lambda window: submit_by_length(
                    window,
                    self.spec.batch_size,
                    self.lanes,
                    lambda batch: lanes.submit(lambda: encode(self.build_inputs(batch))),
                ),
                _WINDOWS_AHEAD,
            ):
                yield answered
                del answered
                self._heap.bound()

    def prepare(self, product: Product) -> Prepared:
        """Read and decode the modalities of one product that the classifier reads."""
        text, pixels, error, digest = "", None, None, None
        status = Status.OK
        if self._config.reads_text:
            text = build_text(product.title, product.description)
            status = Status.OK if text else Status.TEXT_EMPTY
        if self._config.reads_image:
            try:
                data = self._store.read(product.image_path)
                digest = hashlib.sha256(data).hexdigest()
                pixels = self._decode(data, digest)
            except ImageProblem as problem:
                status, error = problem.status, str(problem)
        elif not text:
            error = _NO_TEXT
        wording = (product.title, product.description)
        return Prepared(product.product_id, pixels, text, status, error, digest, wording)

    def _decode(self, data: bytes, digest: str) -> np.ndarray:
        limits, shape = self.spec.limits, self._config.image
        make = functools.partial(decode_pixels, data, limits=limits, shape=shape)
        return self._pixel_cache.get(digest, make)

    def build_inputs(self, batch: Sequence[Prepared]) -> ModelInputs:
        """Return the products as the classifier takes them, on the CPU."""
        size_px = self._config.image.size_px
        pixels = np.zeros((len(batch), size_px, size_px, 3), dtype=np.uint8)
        for row, product in zip(pixels, batch, strict=True):
            if product.pixels is not None:
                row[:] = product.pixels.transpose(1, 2, 0)
        token_ids, token_mask = self.encode_texts([one.text for one in batch])
        return ModelInputs(
            token_ids=token_ids,
            token_mask=token_mask,
            has_image=torch.tensor([one.pixels is not None for one in batch]),
            has_text=torch.tensor([bool(one.text) for one in batch]),
            pixel_values=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        )


def _to_encoded(window: list[Prepared], packed: Tensor | None) -> list[EncodedProduct]:
    rows = iter(() if packed is None else packed.numpy().astype("<f2", copy=False))
    return [
        EncodedProduct(
            one.product_id,
            one.status,
            one.modalities,
            None if one.modalities is None else next(rows).tobytes(),
            one.error,
            one.image_digest,
            one.wording,
        )
        for one in window
    ]
