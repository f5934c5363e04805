"""Output files and folders: checked before work begins, and written atomically.

Others see a file or folder whole or not at all, also after a kill.
"""

import fcntl
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from enrich.errors import ConfigError

# Also as Path leaves a URI: of s3://b it makes s3:/b.
_URI = re.compile(r"[a-z][a-z0-9+.-]+:(/|$)", re.IGNORECASE)


def prepare_target(output: Path, *inputs: str | Path | None) -> None:
    """Makes the folder of a file to write.

    Args:
        output: The file.
        inputs: Files, and folders of files, that the job reads, as far as they are given.

    Raises:
        ConfigError: nothing can be written there, or `output` is one of the inputs, or in one.
    """
    target = output.resolve()
    for given in inputs:
        if given is not None and Path(given).resolve() in (target, *target.parents):
            raise ConfigError(f"--output would change {given}, which is read: name another file")
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; give --output the name of a file")
    if output.exists() and not output.is_file():
        raise ConfigError(
            f"{output} is a device or a pipe, which a file would replace: name a file"
        )
    require_writable(output.parent)


def require_suffix(output: Path, *suffixes: str) -> None:
    """Checks that a file to write is called what it is.

    Raises:
        ConfigError: its name ends in none of the suffixes.
    """
    if output.suffix not in suffixes:
        wanted = " or ".join(suffixes)
        raise ConfigError(f"what shall be written to {output}? Wanted: a {wanted} file")


def require_writable(folder: Path) -> None:
    """Makes a folder.

    Raises:
        ConfigError: it cannot be made, or nothing can be written in it, or it is a URI.
    """
    if _URI.match(str(folder)):
        raise ConfigError(f"{folder} is no local path: write to a local folder, and copy it there")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"nothing can be written in {folder}: {error.strerror}") from error


def refuse_existing(output: Path) -> None:
    """Raises ConfigError where something stands already at what --output names."""
    if output.exists():
        raise ConfigError(f"{output} exists already; remove it, or give another --output")


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
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
def atomic_write_folder(folder: Path) -> Iterator[Path]:
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
