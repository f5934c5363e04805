"""From a peer that classifies to the stages that are timed, alike for all peers."""

from collections.abc import Callable

import pandas as pd

from bench.setup import Setup
from bench.stage import Stage

# How many products, and whether with the engine's precision and way with freed memory: to
# product_id, labels and scores of each.
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

        # What starts only once, with the first run, is not to be taken off the others: hence warm.
        return Stage(lambda: len(classify(setup.products, same)), warm=start, start_up=start)

    return {name: build(False), name + SAME_ARITHMETIC: build(True)}
