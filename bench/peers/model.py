"""What every peer is given: the checkpoint as an ordinary torch model, products and pixels.

Nothing of the engine is in here, unless a peer is to compute as the engine does.
"""

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torchvision.transforms import v2

from bench.setup import Setup
from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import ModelInputs, ModelOutput, Vectors
from enrich.classifiers.manifest import read_manifest
from enrich.engine.device import keep_freed_memory
from enrich.engine.forward import Forward
from enrich.text import build_text

CPU = torch.device("cpu")


class Model:
    """A loaded checkpoint that computes in one thread: a peer runs as many as there are cores.

    In float32, as the examples of transformers' CLIP classes do; with `same_arithmetic` in the
    engine's precision, and with what the process frees kept for the next pass. Texts are padded to
    a batch's longest one in either case, as those examples do (`padding=True`) and the engine does.
    """

    def __init__(self, checkpoint: Path, *, same_arithmetic: bool) -> None:
        torch.set_num_threads(1)
        self._classifier, self._encode = load_classifier(read_manifest(checkpoint), CPU)
        self._forward: Forward | None = None
        if same_arithmetic:
            keep_freed_memory()
            self._forward = Forward(self._classifier, CPU)

    def __call__(self, pixels: np.ndarray, texts: list[str]) -> dict[str, np.ndarray]:
        """Returns `labels`, the best one's number for each attribute, and `scores`.

        Args:
            pixels: uint8 of shape (products, 3, S, S).
            texts: As many texts, none of them empty.
        """
        token_ids, token_mask = self._encode(texts)
        present = torch.ones(len(texts), dtype=torch.bool)
        pictures = torch.from_numpy(pixels)
        output = self._answer(ModelInputs(token_ids, token_mask, present, present, pictures))
        best = [logits.float().softmax(1).max(1) for logits in output.logits.values()]
        return {
            "labels": torch.stack([one.indices for one in best], 1).int().numpy(),
            "scores": torch.stack([one.values for one in best], 1).numpy(),
        }

    @torch.inference_mode()
    def _answer(self, inputs: ModelInputs) -> ModelOutput:
        if self._forward is None:
            output: ModelOutput = self._classifier(inputs)
            return output
        shapes = self._classifier.config.vectors or {}
        packed = self._forward(inputs)
        return self._classifier.answer(
            Vectors.unpack(packed, shapes, inputs.has_image, inputs.has_text)
        )


@functools.cache
def load_once(checkpoint: Path, same_arithmetic: bool) -> Model:
    """Returns this process's model, for workers that outlive a run."""
    return Model(checkpoint, same_arithmetic=same_arithmetic)


def read_size_px(checkpoint: Path) -> int:
    """Returns the side of the square that the checkpoint's image tower takes."""
    return read_manifest(checkpoint).config.image.size_px


def read_pixels(file: str, size_px: int) -> np.ndarray:
    """Returns a picture as uint8 (3, S, S): by Pillow and CLIP's own recipe."""
    with Image.open(file) as image:
        pixels: np.ndarray = _recipe(size_px)(image.convert("RGB")).numpy()
    return pixels


@functools.cache
def _recipe(size_px: int) -> v2.Compose:
    bicubic = v2.InterpolationMode.BICUBIC
    return v2.Compose([v2.Resize(size_px, bicubic), v2.CenterCrop(size_px), v2.PILToTensor()])


def read_table(setup: Setup) -> pa.Table:
    """Returns product_id, text and file of the products, for peers that take a table in memory."""
    folder = setup.products_file.parent
    rows = [
        {
            "product_id": product.product_id,
            "text": build_text(product.title, product.description),
            "file": str(folder / str(product.image_path)),
        }
        for product in setup.measured_products()
    ]
    return pa.Table.from_pylist(rows)
