"""A folder that others see whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to write to, which becomes `folder` when the block ends well.

    Where there is a folder already, its files are replaced one by one and its others stay.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    if not folder.exists():
        partial.rename(folder)
        return
    for file in partial.iterdir():
        file.replace(folder / file.name)
    partial.rmdir()
