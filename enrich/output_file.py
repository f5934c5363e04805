"""The file that a job writes: whether it can be, before anything is computed."""

import tempfile
from pathlib import Path

from enrich.errors import ConfigError


def prepare_target(output: Path) -> None:
    """Makes the folder of a file to write.

    Raises:
        ConfigError: nothing can be written there.
    """
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; give --output the name of a file")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ConfigError(f"nothing can be written in {output.parent}: {error.strerror}") from error
