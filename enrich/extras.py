"""Packages that only some commands need: the project's extras."""

from importlib import import_module
from typing import Any

from enrich.errors import ConfigError


def load_extra(module: str, extra: str) -> Any:
    """Returns a module of one of the extras in `pyproject.toml`.

    Raises:
        ConfigError: its package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.partition('.')[0]} is not installed: python3 -m jobs.set_up --extra {extra}"
        ) from error
