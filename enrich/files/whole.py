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

    Where there is a folder already, it gives way as a whole, and files that the new one lacks move
    there. When the block does not end well, what was written goes.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    before = folder.with_name(f".{folder.name}.before")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        _take_over(before, folder)
        if folder.exists():
            folder.rename(before)
        try:
            partial.rename(folder)
        finally:
            _take_over(before, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_over(before: Path, folder: Path) -> None:
    """Brings into `folder` what it lacks of the one before, of a process that was killed too."""
    if not before.exists():
        return
    if not folder.exists():
        before.rename(folder)
        return
    for other in before.iterdir():
        if not (folder / other.name).exists():
            other.rename(folder / other.name)
    shutil.rmtree(before)
