"""Daft: pictures by its own expressions, the model in a class that it runs once a core.

On its native runner, which is the default on one machine. Its resize squeezes a picture into the
square where the others cut the centre out: the same for square pictures, which a benchmark's are.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

# It would report its use over the network.
os.environ["DO_NOT_TRACK"] = "true"

import daft
from daft import DataType, Series, col
from daft.functions import decode_image, download, resize

from bench.peers.model import load_once, read_size_px, read_table
from bench.peers.stages import Classify, build_stages_with_start_up
from bench.setup import Setup
from bench.stage import Stage

_ANSWER = DataType.struct(
    {"labels": DataType.list(DataType.int32()), "scores": DataType.list(DataType.float32())}
)


@contextmanager
def open_stages(setup: Setup) -> Iterator[dict[str, Stage]]:
    """Yields this peer's stages."""
    with open_peer(setup) as classify:
        yield build_stages_with_start_up("daft", classify, setup)


@contextmanager
def open_peer(setup: Setup) -> Iterator[Classify]:
    """Yields what classifies the first products of the set-up."""

    @daft.cls(max_concurrency=setup.cores)
    class Predictor:
        def __init__(self, same_arithmetic: bool) -> None:
            # Whether in a thread or a process of its own is Daft's choice. Threads share a model.
            self._model = load_once(setup.checkpoint, same_arithmetic)

        @daft.method.batch(return_dtype=_ANSWER, batch_size=setup.batch_size, unnest=True)
        def predict(self, images: Series, texts: Series) -> list[dict[str, Any]]:
            pixels = np.stack(images.to_pylist()).transpose(0, 3, 1, 2)
            answers = self._model(pixels, texts.to_pylist())
            return [
                {"labels": labels.tolist(), "scores": scores.tolist()}
                for labels, scores in zip(answers["labels"], answers["scores"], strict=True)
            ]

    table, size_px = read_table(setup), read_size_px(setup.checkpoint)

    def classify(count: int, same_arithmetic: bool) -> pd.DataFrame:
        rows = daft.from_arrow(table.slice(0, count))
        image = resize(decode_image(download(col("file")), mode="RGB"), size_px, size_px)
        predict = Predictor(same_arithmetic).predict
        answers = rows.select("product_id", predict(image, col("text")))
        return answers.to_pandas()

    yield classify
