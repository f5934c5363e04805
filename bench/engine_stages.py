"""The two floors, and the engine that is compared to them; all three with the same engine.

The floors are the forward pass alone and reading and decoding alone: no engine of one process can
be faster. The job's workers, processes that share no interpreter lock, can. On a CPU both floors
share the cores, so that together they are 1 / (1 / forward + 1 / decode). On a GPU they do not, and
the slower one is the floor.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from bench.setup import Setup
from bench.stage import Stage
from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.manifest import read_manifest
from enrich.engine.device import keep_freed_memory, local_device
from enrich.engine.engine import Engine
from enrich.engine.prefetch import even_slices, one_intra_op_thread, open_pool
from enrich.images.decoding import decode_pixels
from enrich.records import Product

# Prepared batches wait in memory: more of them would measure nothing new.
_MOST_READY = 1_024


@contextmanager
def open_stages(setup: Setup) -> Iterator[dict[str, Stage]]:
    """Yields forward, decode and engine."""
    # Before pyarrow starts its threads: a worker of the job has none either when it asks for this.
    keep_freed_memory()
    torch.set_num_threads(setup.cores)
    products = setup.measured_products()
    device = local_device()
    engine = setup.spec().build(device)
    # On the device already: what is timed is the network alone, and the way back of its vectors.
    ready = [batch.to(device) for batch in prepare_batches(engine, products[:_MOST_READY])]
    rounds, to_warm = 1, ready[: engine.lanes]
    if device.type == "cuda":
        torch.cuda.synchronize()
        # A GPU is done with them in a tenth of a second, part of which goes to what is done once
        # for new shapes and threads. So it gets them several times, and all of them to warm up.
        rounds, to_warm = math.ceil(len(products) / _MOST_READY), ready

    shape = read_manifest(setup.checkpoint).config.image
    store, limits = engine.spec.open_store(), engine.spec.limits

    def read_pixels(product: Product) -> np.ndarray:
        # Without the engine's memory of recent pictures: the next repetition decodes them again.
        return decode_pixels(store.read(product.image_path), limits=limits, shape=shape)

    def forward(batches: list[ModelInputs]) -> int:
        with one_intra_op_thread(), open_pool(engine.lanes) as pool:
            return sum(len(vectors) for vectors in pool.map(engine.forward, batches))

    def decode() -> int:
        with one_intra_op_thread(), open_pool(setup.cores) as pool:
            return sum(1 for _ in pool.map(read_pixels, products))

    def enrich() -> int:
        return sum(1 for _ in engine.enrich(products))

    yield {
        "forward": Stage(lambda: forward(ready * rounds), lambda: forward(to_warm)),
        "decode": Stage(decode),
        "engine": Stage(enrich),
    }


def prepare_batches(engine: Engine, products: list[Product]) -> list[ModelInputs]:
    """Returns the batches that the engine would make of the products, as ready tensors."""
    prepared = [engine.prepare(product) for product in products]
    prepared.sort(key=lambda one: len(one.text))
    slices = even_slices(len(prepared), engine.spec.batch_size, engine.lanes)
    return [engine.build_inputs(prepared[some]) for some in slices]
