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
from jaxtyping import Float
from torch import Tensor

from enrich.classifiers.calibrated import calibrated_probs
from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import ModelInputs, ModelOutput
from enrich.classifiers.manifest import Manifest
from enrich.decoding import decode
from enrich.images import ImageProblem, ImageStore
from enrich.precision import autocast
from enrich.preprocess import to_pixels
from enrich.records import Candidate, EnrichedProduct, Modalities, Prediction, Product, Status
from enrich.spec import EngineSpec
from enrich.text import build_text

ALTERNATIVES = 3
_WINDOW_BATCHES = 2


@dataclass(frozen=True, slots=True)
class Prepared:
    """A product read and decoded; `pixels` is uint8 (3, S, S) or None, `text` may be empty."""

    product_id: str
    pixels: np.ndarray | None
    text: str
    status: Status
    error: str | None

    @property
    def modalities(self) -> Modalities | None:
        """What an answer can rest on; None if nothing could be read."""
        if self.pixels is not None:
            return Modalities.IMAGE_AND_TEXT if self.text else Modalities.IMAGE
        return Modalities.TEXT if self.text else None


class Engine:
    """A loaded classifier with everything around it; built once per process."""

    def __init__(self, spec: EngineSpec, manifest: Manifest, device: torch.device) -> None:
        self.spec = spec
        self.classifier, self.encode_texts = load_classifier(manifest, device)
        self._device = device
        self._config = manifest.config
        self.calibration = manifest.calibration
        self._store = ImageStore(spec.image_root, spec.allowed_roots, spec.limits, spec.reading)

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        """Yields one answer a product, in order; reads ahead by at most two batches."""
        for batch, output in self.classify(products):
            predictions = iter(() if output is None else self._predict(batch, output))
            for one in batch:
                answered = () if one.modalities is None else next(predictions)
                yield EnrichedProduct(
                    one.product_id, one.status, one.modalities, answered, one.error
                )

    def classify(
        self, products: Iterable[Product]
    ) -> Iterator[tuple[list[Prepared], ModelOutput | None]]:
        """Yields batches of products with what the classifier makes of the readable ones.

        The output has a row for each product of the batch that has modalities, in order; it is None
        where none has. Reads ahead by at most two batches.
        """
        with ThreadPoolExecutor(self.spec.read_threads) as pool:
            prepared = self._prepare_ahead(pool, products)
            while batch := list(islice(prepared, self.spec.batch_size)):
                readable = [one for one in batch if one.modalities is not None]
                output = None
                if readable:
                    inputs = self.build_inputs(readable).to(self._device)
                    with torch.inference_mode(), autocast(self._device):
                        output = self.classifier(inputs)
                yield batch, output

    def _prepare_ahead(
        self, pool: ThreadPoolExecutor, products: Iterable[Product]
    ) -> Iterator[Prepared]:
        window: deque[Future[Prepared]] = deque()
        for product in products:
            window.append(pool.submit(self.prepare, product))
            if len(window) >= _WINDOW_BATCHES * self.spec.batch_size:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()

    def prepare(self, product: Product) -> Prepared:
        """Reads and decodes one product."""
        text = build_text(product.title, product.description)
        pixels, error = None, None
        status = Status.OK if text else Status.TEXT_EMPTY
        shape = self._config.image
        try:
            data = self._store.read(product.image_path)
            picture = decode(data, limits=self.spec.limits, target_px=shape.size_px)
            pixels = to_pixels(picture, shape)
        except ImageProblem as problem:
            status, error = problem.status, str(problem)
        return Prepared(product.product_id, pixels, text, status, error)

    def build_inputs(self, batch: list[Prepared]) -> ModelInputs:
        """Returns the products as the classifier takes them, on the CPU."""
        size_px = self._config.image.size_px
        blank = np.zeros((3, size_px, size_px), dtype=np.uint8)
        pixels = np.stack([blank if one.pixels is None else one.pixels for one in batch])
        token_ids, token_mask = self.encode_texts([one.text for one in batch])
        return ModelInputs(
            token_ids=token_ids,
            token_mask=token_mask,
            has_image=torch.tensor([one.pixels is not None for one in batch]),
            has_text=torch.tensor([bool(one.text) for one in batch]),
            pixel_values=torch.from_numpy(pixels),
        )

    def calibrate(
        self, output: ModelOutput, modalities: list[Modalities]
    ) -> dict[str, Float[Tensor, "B _"]]:
        """Returns calibrated probabilities per attribute, on the CPU; rows have `modalities`."""
        weights = self._image_weights(output)
        return {
            attribute: calibrated_probs(
                self.calibration, attribute, logits, modalities, weights[attribute]
            )
            for attribute, logits in output.logits.items()
        }

    def _predict(
        self, batch: list[Prepared], output: ModelOutput
    ) -> Iterator[tuple[Prediction, ...]]:
        """Returns the predictions of the batch's readable products."""
        modalities = [one.modalities for one in batch if one.modalities is not None]
        weights = self._image_weights(output)
        columns = [
            self._read_attribute(attribute, probs, weights[attribute], modalities)
            for attribute, probs in self.calibrate(output, modalities).items()
        ]
        return zip(*columns, strict=True)

    def _image_weights(self, output: ModelOutput) -> dict[str, Float[Tensor, " B"] | None]:
        """Returns each attribute's share of the image, None where a classifier weighs nothing."""
        weights = output.image_weight
        return {
            attribute: None if weights is None else weights[:, column].float().cpu()
            for column, attribute in enumerate(self._config.attributes)
        }

    def _read_attribute(
        self,
        attribute: str,
        probs: Float[Tensor, "B C"],
        image_weight: Float[Tensor, " B"] | None,
        modalities: list[Modalities],
    ) -> list[Prediction]:
        """Returns one attribute's predictions for a batch."""
        labels = self._config.attributes[attribute]
        best = probs.topk(min(1 + ALTERNATIVES, len(labels)), dim=1)
        image_weights: list[float | None] = [None] * len(modalities)
        if image_weight is not None:
            image_weights = image_weight.tolist()
        precision = self.spec.target_precision
        predictions = []
        for row, (confidences, places) in enumerate(
            zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            candidates = [
                Candidate(labels[place], confidence)
                for place, confidence in zip(places, confidences, strict=True)
            ]
            first = candidates[0]
            threshold = self.calibration.threshold(attribute, modalities[row], precision)
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
