"""The inference engine: a stream of products in, one answer each out, in the same order.

Read, decode and tokenise run ahead of the forward pass in a bounded window. A product that cannot
be read gets a status, never an exception. Knows nothing of Spark, tables or who calls it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import ModelInputs, ModelOutput
from enrich.classifiers.manifest import Manifest
from enrich.images import ImageProblem, ImageStore, decode
from enrich.precision import autocast
from enrich.preprocess import to_pixels
from enrich.records import Candidate, EnrichedProduct, Modalities, Prediction, Product, Status
from enrich.spec import EngineSpec
from enrich.text import build_text

ALTERNATIVES = 3
_WINDOW_BATCHES = 2


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A product read and decoded; `pixels` is uint8 (3, S, S) or None, `text` may be empty."""

    product_id: str
    pixels: np.ndarray | None
    text: str
    status: Status
    error: str | None

    @property
    def modalities(self) -> Modalities | None:
        if self.pixels is not None:
            return Modalities.IMAGE_AND_TEXT if self.text else Modalities.IMAGE
        return Modalities.TEXT if self.text else None


class Engine:
    """A loaded classifier with everything around it; built once per process."""

    def __init__(self, spec: EngineSpec, manifest: Manifest, device: torch.device) -> None:
        self._spec = spec
        self._device = device
        self._config = manifest.config
        self._calibration = manifest.calibration
        self._classifier, self._encode_texts = load_classifier(manifest, device)
        self._store = ImageStore(spec.image_root, spec.allowed_roots, spec.limits)

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        """Yields one answer a product, in order; reads ahead by at most two batches."""
        with ThreadPoolExecutor(self._spec.read_threads) as pool:
            prepared = self._prepare_ahead(pool, products)
            while batch := list(islice(prepared, self._spec.batch_size)):
                yield from self._answer(batch)

    def _prepare_ahead(
        self, pool: ThreadPoolExecutor, products: Iterable[Product]
    ) -> Iterator[_Prepared]:
        window: deque[Future[_Prepared]] = deque()
        for product in products:
            window.append(pool.submit(self._prepare, product))
            if len(window) >= _WINDOW_BATCHES * self._spec.batch_size:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()

    def _prepare(self, product: Product) -> _Prepared:
        text = build_text(product.title, product.description)
        pixels, error = None, None
        status = Status.OK if text else Status.TEXT_EMPTY
        shape = self._config.image
        try:
            data = self._store.read(product.image_path)
            picture = decode(data, limits=self._spec.limits, target_px=shape.size_px)
            pixels = to_pixels(picture, shape)
        except ImageProblem as problem:
            status, error = problem.status, str(problem)
        return _Prepared(product.product_id, pixels, text, status, error)

    def _answer(self, batch: list[_Prepared]) -> Iterator[EnrichedProduct]:
        readable = [one for one in batch if one.modalities is not None]
        predictions = iter(self._predict(readable) if readable else ())
        for one in batch:
            answered = () if one.modalities is None else next(predictions)
            yield EnrichedProduct(one.product_id, one.status, one.modalities, answered, one.error)

    def _predict(self, batch: list[_Prepared]) -> list[tuple[Prediction, ...]]:
        inputs = self._build_inputs(batch).to(self._device)
        with torch.inference_mode(), autocast(self._device):
            output = self._classifier(inputs)
        modalities = [one.modalities for one in batch if one.modalities is not None]
        columns = [
            self._read_attribute(attribute, column, output, modalities)
            for column, attribute in enumerate(self._config.attributes)
        ]
        return list(zip(*columns, strict=True))

    def _build_inputs(self, batch: list[_Prepared]) -> ModelInputs:
        size_px = self._config.image.size_px
        blank = np.zeros((3, size_px, size_px), dtype=np.uint8)
        pixels = np.stack([blank if one.pixels is None else one.pixels for one in batch])
        token_ids, token_mask = self._encode_texts([one.text for one in batch])
        return ModelInputs(
            token_ids=token_ids,
            token_mask=token_mask,
            has_image=torch.tensor([one.pixels is not None for one in batch]),
            has_text=torch.tensor([bool(one.text) for one in batch]),
            pixel_values=torch.from_numpy(pixels),
        )

    def _read_attribute(
        self, attribute: str, column: int, output: ModelOutput, modalities: list[Modalities]
    ) -> list[Prediction]:
        """Returns one attribute's calibrated predictions for a batch."""
        labels = self._config.attributes[attribute]
        calibrated = self._calibration.attributes[attribute]
        temperatures = torch.tensor([calibrated[m].temperature for m in modalities])
        logits = output.logits[attribute].float().cpu()
        probs = (logits / temperatures.unsqueeze(1)).softmax(1)
        best = probs.topk(min(1 + ALTERNATIVES, len(labels)), dim=1)
        image_weights: list[float | None] = [None] * len(modalities)
        if output.image_weight is not None:
            image_weights = output.image_weight[:, column].float().cpu().tolist()
        precision = self._spec.target_precision
        predictions = []
        for row, (confidences, places) in enumerate(
            zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            candidates = [
                Candidate(labels[place], confidence)
                for place, confidence in zip(places, confidences, strict=True)
            ]
            first = candidates[0]
            threshold = self._calibration.threshold(attribute, modalities[row], precision)
            predictions.append(
                Prediction(
                    attribute=attribute,
                    label=first.label,
                    confidence=first.confidence,
                    abstained=first.confidence < threshold,
                    image_weight=image_weights[row],
                    alternatives=tuple(candidates[1:]),
                )
            )
        return predictions
