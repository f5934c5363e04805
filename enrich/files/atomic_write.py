"""Output files and folders: checked before work begins, and written atomically.

Others see a file or folder whole or not at all, also after a kill.
"""

import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enrich.errors import ConfigError
from enrich.places import ObjectUri, Place

# Also as Path leaves a URI: of s3://b it makes s3:/b.
_URI = re.compile(r"[a-z][a-z0-9+.-]+:(/|$)", re.IGNORECASE)


def prepare_target(output: Path, *inputs: str | Path | None) -> None:
    """Create the folder of an output file.

    Args:
        output: The file.
        inputs: Files, and folders of files, that the job reads, as far as they are given.

    Raises:
        ConfigError: The folder cannot be written, or `output` is one of the inputs or lies in one.
    """
    target = output.resolve()
    for given in inputs:
        if given is not None and Path(given).resolve() in (target, *target.parents):
            raise ConfigError(f"--output would change {given}, which is read. Name another file.")
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; give --output the name of a file")
    if output.exists() and not output.is_file():
        raise ConfigError(
            f"{output} is a device or a pipe, which a file would replace. Name a file."
        )
    require_writable(output.parent)


def require_suffix(output: Path, *suffixes: str) -> None:
    """Check the suffix of an output file.

    Raises:
        ConfigError: The name ends in none of the suffixes.
    """
    if output.suffix not in suffixes:
        known = " or ".join(suffixes)
        raise ConfigError(f"{output} has another suffix than its format: expected {known}.")


def require_writable(folder: Path) -> None:
    """Create a folder.

    Raises:
        ConfigError: The folder cannot be created or written, or is a URI.
    """
    if _URI.match(str(folder)):
        raise ConfigError(
            f"{folder} is not a local path. Write to a local folder, and copy the result there."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"nothing can be written in {folder}: {error.strerror}") from error


def refuse_existing(output: Path) -> None:
    """Raise ConfigError if the path of --output exists already."""
    if output.exists():
        raise ConfigError(f"{output} exists already. Remove it, or give another --output.")


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Yield a temporary path beside `file`, which becomes `file` at the end.

    If the block raises, the temporary file is deleted and `file` stays as it was. Folders are
    created. With several writers at a time the last one wins. A killed process leaves its
    temporary file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_place(place: Place, content: bytes) -> None:
    """Write a file, whole or not at all; folders are made. Raises OSError."""
    if isinstance(place, ObjectUri):
        place.write_bytes(content)
        return
    with atomic_write(Path(str(place))) as partial:
        partial.write_bytes(content)


@contextmanager
def atomic_write_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder, which replaces `folder` at the end.

    If the block raises, the temporary folder is deleted, and `folder` stays as it was.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
