"""A training run's curves, for TensorBoard."""

from pathlib import Path

from enrich.progress import say


class Curves:
    """Appends figures to `tensorboard/` in a folder; does nothing if tensorboard is not installed.

    A resumed run goes on at `done_steps`: what was written of later steps is not shown any more.
    """

    def __init__(self, folder: Path, done_steps: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            say("tensorboard is not installed (extra: train): no curves are drawn")
            self._board = None
        else:
            self._board = SummaryWriter(folder / "tensorboard", purge_step=done_steps + 1)

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Adds figures at a step of the whole run; what stands before a `/` groups the plots."""
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes out what is left."""
        if self._board is not None:
            self._board.close()
