"""Files and folders that others see whole or not at all, also after a kill."""

import fcntl
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Gives a path beside `file` to write to, which becomes `file` when the block ends well.

    When it does not, what was written goes, and `file` stays as it was. Folders are made. Of
    several that write at a time the last one's stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(file)
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    with partial.open("xb") as mine:
        # Not every file system can lock; there leftovers stay.
        with suppress(OSError):
            fcntl.flock(mine, fcntl.LOCK_EX)
        try:
            yield partial
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


def _remove_leftovers(file: Path) -> None:
    """Removes what processes that were killed had written: nobody holds a lock on it."""
    for left in file.parent.glob(f".{escape(file.name)}.*.partial"):
        with suppress(OSError), left.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to write to, which becomes `folder` when the block ends well.

    Where there is a folder already, its files are replaced one by one and its others stay. When the
    block does not end well, what was written goes.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if not folder.exists():
            partial.rename(folder)
            return
        for file in partial.iterdir():
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
