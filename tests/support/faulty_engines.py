"""Fake engines that meet what real ones meet: products that kill, stores that are down."""

import dataclasses
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyspark import cloudpickle

from enrich.engine.fake_engine import FakeEngine, FakeEngineSpec
from enrich.images.settings import NO_IMAGE_PATH
from enrich.records import EnrichedProduct, Modalities, Product, Status

# Spark's workers cannot import what only pytest has on its path.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True, slots=True)
class DeadlyEngineSpec(FakeEngineSpec):
    """Recipe of an engine that dies of every title with the word."""

    deadly_word: str = "poison"

    def build(self, device: object) -> "DeadlyEngine":
        return DeadlyEngine(self)


class DeadlyEngine(FakeEngine):
    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        yield from super().enrich(map(self._touch, products))

    def _touch(self, product: Product) -> Product:
        if self._spec.deadly_word in (product.title or ""):
            os.kill(os.getpid(), signal.SIGSEGV)
        return product


@dataclass(frozen=True, slots=True)
class LostStoreSpec(FakeEngineSpec):
    """Recipe of an engine whose image store does not answer while a file is there."""

    down: Path = Path("down")

    def build(self, device: object) -> "LostStoreEngine":
        return LostStoreEngine(self)


class LostStoreEngine(FakeEngine):
    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        for answer in super().enrich(products):
            if answer.error != NO_IMAGE_PATH and self._spec.down.exists():
                yield dataclasses.replace(
                    answer,
                    status=Status.IMAGE_UNREADABLE,
                    modalities=Modalities.TEXT if answer.modalities else None,
                    error="no answer",
                )
            else:
                yield answer


class ForgetfulSpec(FakeEngineSpec):
    """Recipe of an engine that does not answer to the last product."""

    def build(self, device: object) -> "ForgetfulEngine":
        return ForgetfulEngine(self)


class ForgetfulEngine(FakeEngine):
    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        yield from list(super().enrich(products))[:-1]


class SharpEyedSpec(FakeEngineSpec):
    """Recipe of an engine that also answers to a picture without a text."""

    def build(self, device: object) -> "SharpEyedEngine":
        return SharpEyedEngine(self)


class SharpEyedEngine(FakeEngine):
    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        for product in products:
            title = product.title or product.image_path
            yield from super().enrich([dataclasses.replace(product, title=title)])
