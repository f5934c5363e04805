"""Deals the batches of an epoch out into parts: over processes, and over time to save memory.

All that is random is seeded by phase, epoch, step and part, and nothing is carried along. So a
resumed run draws what the unbroken one drew, and two processes what one draws in two parts.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from enrich.classifiers.interface import ModelInputs
from enrich.ranks import rank
from enrich.training.batches import Batches, Hiding
from enrich.training.config import TrainingConfig
from enrich.training.distributed import processes
from enrich.training.losses import count_labelled


@dataclass(frozen=True, slots=True)
class Part:
    """Those rows of a step's batch that are computed at once.

    `own_text` is False where a text is another product's. `image_targets` are the labels to learn
    from the pictures alone, `targets` those to learn from pictures and texts together. `share` is
    the part's share of the batch's rows; `labelled` counts the labels of the whole batch, for each
    attribute. The part's `seed` makes its dropout the same in whichever process computes it, also
    in a resumed run.
    """

    inputs: ModelInputs
    own_text: Bool[Tensor, " B"]
    targets: Int[Tensor, "B K"]
    image_targets: Int[Tensor, "B K"]
    groups: Int[Tensor, " B"]
    labelled: Int[Tensor, " K"]
    share: float
    seed: int

    def to(self, device: torch.device) -> "Part":
        """Returns the part on `device`."""
        return replace(
            self,
            inputs=self.inputs.to(device),
            own_text=self.own_text.to(device),
            targets=self.targets.to(device),
            image_targets=self.image_targets.to(device),
            groups=self.groups.to(device),
            labelled=self.labelled.to(device),
        )


def deal(
    batches: Batches,
    train_rows: np.ndarray,
    config: TrainingConfig,
    hiding: Hiding,
    seed: tuple[int, ...],
    first_step: int,
) -> Iterator[list[Part]]:
    """Yields this process's parts of every batch of an epoch, from its `first_step` on.

    `accumulate` counts the parts of all processes here, and they take turns. `seed` is what the
    epoch's random draws start from: the run's seed, phase and epoch.
    """
    products, count = batches.products, config.accumulate
    steps = enumerate(shuffled(train_rows, config.batch_size, np.random.default_rng(seed)))
    for step, batch in itertools.islice(steps, first_step, None):
        labelled = count_labelled(torch.from_numpy(products.targets[batch]))
        parts = []
        for part in range(rank(), count, processes()):
            rng = np.random.default_rng([*seed, step, part])
            # Rows are sorted, and neighbours are alike: so a part takes every `count`-th row.
            rows = batch[part::count]
            drawn = batches.training(rows, hiding, rng)
            parts.append(
                Part(
                    inputs=drawn.inputs,
                    own_text=torch.from_numpy(drawn.own_text),
                    targets=torch.from_numpy(drawn.targets),
                    image_targets=torch.from_numpy(products.targets[rows]),
                    groups=torch.from_numpy(products.groups[rows]),
                    labelled=labelled,
                    share=len(rows) / len(batch),
                    seed=int(rng.integers(2**63)),
                )
            )
        yield parts


def shuffled(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields all rows in random order, in batches; a last short one is left out.

    Rows inside a batch are sorted, which makes reading them from a memory map cheap.
    """
    order = rng.permutation(rows)
    for start in range(0, len(order) - size + 1, size):
        yield np.sort(order[start : start + size])
