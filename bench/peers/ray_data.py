"""Ray Data: a step that decodes, then the model in a pool of actors, one a core.

As its guide to batch inference has it, expensive preprocessing is a step of its own. Where both
steps want the same resources, as they do without a GPU, Ray's planner joins them: each actor then
decodes for itself. That is left to Ray. Kept apart, actors on all cores would leave the tasks none.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray

from bench.peers.model import Model, read_pixels, read_size_px, read_table
from bench.peers.stages import Classify, build_stages_with_start_up
from bench.setup import Setup
from bench.stage import Stage

_MOST_START_UP_S = 300


@contextmanager
def open_stages(setup: Setup) -> Iterator[dict[str, Stage]]:
    """Yields this peer's stages."""
    with open_peer(setup) as classify:
        yield build_stages_with_start_up("ray_data", classify, setup)


@contextmanager
def open_peer(setup: Setup) -> Iterator[Classify]:
    """Yields what classifies the first products of the set-up."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray lowers the priority of its workers; the other runners keep theirs.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    ray.init(num_cpus=setup.cores, include_dashboard=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # The time of start-up is subtracted, so nothing may be decoded meanwhile.
    context.wait_for_min_actors_s = _MOST_START_UP_S
    table, size_px = read_table(setup), read_size_px(setup.checkpoint)

    def decode(row: dict[str, Any]) -> dict[str, Any]:
        pixels = read_pixels(row["file"], size_px)
        return {"product_id": row["product_id"], "text": row["text"], "pixels": pixels}

    def classify(count: int, same_arithmetic: bool) -> pd.DataFrame:
        # Blocks of exactly one batch: smaller ones would be joined, larger ones leave remainders.
        blocks = table.slice(0, count).to_batches(setup.batch_size)
        rows = ray.data.from_arrow([pa.Table.from_batches([one]) for one in blocks])
        answers = rows.map(decode).map_batches(
            _Predictor,
            fn_constructor_args=(setup.checkpoint, same_arithmetic),
            batch_size=setup.batch_size,
            compute=ray.data.ActorPoolStrategy(size=setup.cores),
        )
        return answers.to_pandas()

    try:
        yield classify
    finally:
        ray.shutdown()


class _Predictor:
    def __init__(self, checkpoint: Path, same_arithmetic: bool) -> None:
        self._model = Model(checkpoint, same_arithmetic=same_arithmetic)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = self._model(batch["pixels"], batch["text"].tolist())
        return {"product_id": batch["product_id"], **answers}
