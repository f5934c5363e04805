"""Engines with one deliberate fault in how they treat pictures: what a quality gate must notice.

The faulty pixels go through the classifier, so that its answers are what a broken job would really
publish.
"""

import dataclasses
from enum import StrEnum

import numpy as np
import torch

from enrich.classifiers.manifest import Manifest
from enrich.engine import Engine
from enrich.records import Product
from enrich.spec import EngineSpec
from enrich.window import Prepared


class Fault(StrEnum):
    """A way in which a job treats pictures wrongly without noticing."""

    IMAGES_MISSING = "images_missing"
    SWAPPED_CHANNELS = "swapped_channels"
    WRONG_NORMALISATION = "wrong_normalisation"


class _SwappedChannels(Engine):
    """Hands blue over as red, as a reader does whose library decodes to BGR."""

    def prepare(self, product: Product) -> Prepared:
        prepared = super().prepare(product)
        if prepared.pixels is None:
            return prepared
        return dataclasses.replace(prepared, pixels=np.ascontiguousarray(prepared.pixels[::-1]))


class _NoImages(Engine):
    """Finds no picture, as after a mount was lost."""

    def prepare(self, product: Product) -> Prepared:
        return super().prepare(dataclasses.replace(product, image_path="lost/with the mount.jpg"))


def build_faulty_engine(
    spec: EngineSpec, manifest: Manifest, fault: Fault | None, device: torch.device
) -> Engine:
    """Returns an engine with the fault; None builds a sound one."""
    if fault is Fault.SWAPPED_CHANNELS:
        return _SwappedChannels(spec, manifest, device)
    if fault is Fault.IMAGES_MISSING:
        return _NoImages(spec, manifest, device)
    if fault is Fault.WRONG_NORMALISATION:
        # Pixels stay in [0, 1]: neither mean nor standard deviation is applied.
        image = manifest.config.image.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
        config = manifest.config.model_copy(update={"image": image})
        return Engine(spec, dataclasses.replace(manifest, config=config), device)
    return Engine(spec, manifest, device)
