"""Which reader reads what `--catalog` names: `LAYOUT:PATH`, or a catalog folder."""

from collections.abc import Callable
from pathlib import Path

from enrich.errors import ConfigError
from enrich.training.readers.catalog_folder import read_catalog_folder
from enrich.training.readers.fashion_gen import read_fashion_gen
from enrich.training.readers.food101 import read_food101
from enrich.training.readers.rows import LabelledRows
from enrich.training.readers.table import read_described_table

LAYOUTS: dict[str, Callable[[Path], LabelledRows]] = {
    "catalog": read_catalog_folder,
    "food101": read_food101,
    "fashion_gen": read_fashion_gen,
    "table": read_described_table,
}


def read_labelled(catalog: Path) -> LabelledRows:
    """Reads all labelled products of a catalog, given as a folder or as `LAYOUT:PATH`.

    Raises:
        ConfigError: the layout is unknown, or its reader finds something missing.
    """
    layout, path = locate(catalog)
    if layout not in LAYOUTS:
        raise ConfigError(
            f"no folder {catalog}, and no layout '{layout}'; wanted: a catalog folder, or "
            f"LAYOUT:PATH with one of {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[layout](path)


def locate(catalog: Path) -> tuple[str, Path]:
    """Returns the layout that a catalog is said to have, and where it lies."""
    layout, colon, path = str(catalog).partition(":")
    return (layout, Path(path)) if colon and not catalog.exists() else ("catalog", catalog)
