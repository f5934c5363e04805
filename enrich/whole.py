"""Files and folders that others see whole or not at all, also after a kill."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Gives a path beside `file` to write to, which becomes `file` when the block ends well.

    When it does not, what was written goes, and `file` stays as it was. Folders are made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


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
