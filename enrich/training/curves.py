"""A training run's curves: TensorBoard event files, and the same numbers as lines of JSON."""

import json
from pathlib import Path

from enrich.training.progress import say


class Curves:
    """Appends figures to `tensorboard/` and `curves.jsonl` in a folder.

    What an earlier run wrote after `done_steps`, where this one goes on, is dropped from both.
    """

    def __init__(self, folder: Path, done_steps: int) -> None:
        file = folder / "curves.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        # A kill may have cut the last line short.
        kept = [ln for ln in lines if ln.endswith("}") and json.loads(ln)["step"] <= done_steps]
        file.write_text("".join(f"{line}\n" for line in kept))
        self._file = file.open("a", buffering=1)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            say(f"tensorboard is not installed (extra: train); the curves are in {file} only")
            self._board = None
        else:
            self._board = SummaryWriter(folder / "tensorboard", purge_step=done_steps + 1)

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Adds figures at a step of the whole run; what stands before a `/` groups the plots."""
        self._file.write(json.dumps({"step": step} | figures) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes out what is left."""
        self._file.close()
        if self._board is not None:
            self._board.close()
