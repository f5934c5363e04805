"""Folders are known by their names, in metrics and reports: each name may stand for one only."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from enrich.errors import ConfigError


def name_catalog(catalog: Path) -> str:
    """Returns the name of a catalog's folder or file, however it is reached: `.` has none."""
    return Path(os.path.abspath(catalog)).name  # noqa: PTH100 - resolve() would follow a link


def refuse_same_names(
    what: str, names: Sequence[str], known_by: str, as_known: Callable[[str], str] = str
) -> None:
    """Checks that no name comes twice.

    Args:
        what: What has these names, in the singular.
        names: One for each.
        known_by: What goes by the names, for the message, with its verb: "the metrics go".
        as_known: How a name is written there: two may become one.

    Raises:
        ConfigError: a name comes more than once.
    """
    known = [*map(as_known, names)]
    if twice := {name for name in names if known.count(as_known(name)) > 1}:
        raise ConfigError(
            f"more than one {what} is called {', '.join(sorted(twice))}; rename one, {known_by} "
            "by these names"
        )
