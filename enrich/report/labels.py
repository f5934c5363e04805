"""An attribute's label shares in a run, beside the baseline and the table published before."""

from collections.abc import Mapping
from typing import NamedTuple

from PIL import ImageColor
from schemas.labels import ABSTAINED

from enrich.report.content import AttributeFacts


class LabelRow(NamedTuple):
    """One label; a share is of all products counted, in [0, 1], None where nothing was counted."""

    label: str
    products: int
    share: float | None
    baseline: float | None
    before: float | None

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares that are known."""
        return tuple(s for s in (self.share, self.baseline, self.before) if s is not None)


def compare_labels(attribute: AttributeFacts) -> list[LabelRow]:
    """Returns a row for every label that anything shows, most frequent first, abstained last."""
    names = {*attribute.labels, *attribute.before, *attribute.baseline}
    rows = [
        LabelRow(
            label=name,
            products=attribute.labels.get(name, 0),
            share=_share(attribute.labels, name),
            baseline=_share(attribute.baseline, name),
            before=_share(attribute.before, name),
        )
        for name in names
    ]
    return sorted(rows, key=_most_frequent_first)


def _share(products: Mapping[str, int], label: str) -> float | None:
    counted = sum(products.values())
    return products.get(label, 0) / counted if counted else None


def _most_frequent_first(row: LabelRow) -> tuple[bool, list[float], str]:
    return row.label == ABSTAINED, [-share for share in row.shares], row.label


def find_swatch(label: str) -> str | None:
    """Returns the color that a label names, as #rrggbb, None for any other label."""
    name = label.lower().replace(" ", "")
    if name not in ImageColor.colormap:
        return None
    red, green, blue, *_ = ImageColor.getrgb(name)
    return f"#{red:02x}{green:02x}{blue:02x}"
