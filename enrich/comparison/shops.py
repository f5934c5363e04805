"""The labelled products that a comparison evaluates on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from enrich.comparison.figure import file_name
from enrich.errors import ConfigError
from enrich.training.label_checks import read_to_measure, require_any_label
from enrich.training.labelled import TEST, LabelledProducts
from enrich.training.names import refuse_same_names


@dataclass(frozen=True, slots=True)
class LabelledShop:
    """A labelled catalog; if it was trained on, only its held-back test groups are evaluated."""

    folder: Path
    trained_on: bool
    limit: int | None = None

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        return (
            f"{self.folder.resolve().name}, {'test groups' if self.trained_on else 'all products'}"
        )

    def load(self, attributes: dict[str, tuple[str, ...]]) -> LabelledProducts:
        """Returns the products to evaluate, their groups numbered from 0 without a gap.

        Raises:
            ConfigError: the catalog cannot be read, or holds nothing to evaluate on.
        """
        products = read_to_measure(self.folder, attributes, self.title)
        rows = np.arange(len(products))
        if self.trained_on:
            rows = rows[products.split == TEST]
        if len(rows) == 0:
            raise ConfigError(
                f"no test group in {self.folder}: a tenth of all groups is held back, and "
                f"{len(products)} products give none. Use --strange-shop if none was trained on"
            )
        if self.limit is not None and self.limit < len(rows):
            # Evenly spread, because a catalog is often sorted by kind of product.
            rows = rows[np.linspace(0, len(rows) - 1, self.limit).astype(int)]
        products = products.take(rows)
        require_any_label(products, attributes, self.folder)
        return products


def build_shops(
    trained_on: list[Path], strange: list[Path], limit: int | None
) -> list[LabelledShop]:
    """Returns what to evaluate on, of each catalog at most `limit` products.

    Raises:
        ConfigError: there is none, or two would have the same title.
    """
    shops = [LabelledShop(folder, True, limit) for folder in trained_on]
    shops += [LabelledShop(folder, False, limit) for folder in strange]
    titles = [shop.title for shop in shops]
    if not titles:
        raise ConfigError("no products to evaluate on: give --catalog or --strange-shop")
    refuse_same_names("catalog", titles, "the report goes", file_name)
    return shops
