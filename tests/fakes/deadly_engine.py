"""A fake engine in whose hands some products kill the process, as a broken decoder would."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyspark import cloudpickle

from enrich.fake_engine import FakeEngine, FakeEngineSpec
from enrich.records import EnrichedProduct, Product

# Spark's workers cannot import what only pytest has on its path.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True, slots=True)
class DeadlyEngineSpec(FakeEngineSpec):
    """Recipe of an engine that dies of every title with the word."""

    deadly_word: str = "poison"

    def build(self, device: object) -> "DeadlyEngine":
        return DeadlyEngine(self.attributes, self.deadly_word)


class DeadlyEngine(FakeEngine):
    def __init__(self, attributes: dict[str, tuple[str, ...]], deadly_word: str) -> None:
        super().__init__(attributes)
        self._deadly_word = deadly_word

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        yield from super().enrich(map(self._touch, products))

    def _touch(self, product: Product) -> Product:
        if self._deadly_word in (product.title or ""):
            os.kill(os.getpid(), signal.SIGSEGV)
        return product
