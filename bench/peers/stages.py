"""From a peer that classifies to the stages that are timed, alike for all peers."""

from collections.abc import Callable

import pandas as pd

from bench.setup import Setup
from bench.stage import Stage

# Takes how many products to classify, and whether in the engine's precision and with its settings
# of memory; returns product_id, labels and scores of each.
Classify = Callable[[int, bool], pd.DataFrame]

SAME_ARITHMETIC = "_same_arithmetic"


def build_stages(name: str, classify: Classify, setup: Setup) -> dict[str, Stage]:
    """Returns a peer's stages: as documented, and with the engine's precision and memory.

    For peers whose workers stay, warmed with as many products as the job is.
    """
    few = min(setup.products, setup.cores * setup.batch_size)

    def build(same: bool) -> Stage:
        return Stage(lambda: len(classify(setup.products, same)), lambda: classify(few, same))

    return {name: build(False), name + SAME_ARITHMETIC: build(True)}


def build_stages_with_start_up(name: str, classify: Classify, setup: Setup) -> dict[str, Stage]:
    """Returns the same for peers whose workers are started, and load the model, with every run."""
    few = min(setup.cores, setup.products - 1)

    def build(same: bool) -> Stage:
        def start() -> int:
            return len(classify(few, same))

        # Warmed as well: what only the first run has to do must not be subtracted from the others.
        return Stage(lambda: len(classify(setup.products, same)), warm=start, start_up=start)

    return {name: build(False), name + SAME_ARITHMETIC: build(True)}
