"""The file or folder that a job writes: whether it can be, before anything is computed."""

import re
import tempfile
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
