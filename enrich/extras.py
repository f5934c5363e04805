"""Packages that only some commands need: the project's extras."""

from importlib import import_module
from typing import Any

from enrich.errors import ConfigError, first_line


def load_extra(module: str, extra: str) -> Any:
    """Returns a module of one of the extras in `pyproject.toml`.

    Raises:
        ConfigError: its package is not installed, or cannot be loaded.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        if error.name == package:
            said = (
                f"{package} is not installed: python3 -m jobs.set_up {extra}, or without a "
                f"checkout pip install 'catalog-enrichment[{extra}]'"
            )
        else:
            said = f"{package} cannot be loaded: {first_line(error)}"
        raise ConfigError(said) from error
