"""What is counted of a catalog's answers: the same of a reviewed baseline and of a new run.

Counts instead of shares, because how far two shares may differ by chance depends on the counts.
Knows nothing of Spark, and holds no product.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from schemas.labels import ABSTAINED

# Products of categories that a baseline counts together, and of none.
OTHER = "(other)"

# Products of categories that a baseline has not counted any of.
UNKNOWN = "(unknown)"

# The categories that `OTHER` stands for, None among them for products without one; None in place of
# all of them where they are not known.
OtherCategories = tuple[str | None, ...] | None

# A confidence falls into the first bin whose edge is above it; answers crowd near 1.
CONFIDENCE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.000001)

Count = Annotated[int, Field(ge=0)]


class AttributeSummary(BaseModel):
    """One attribute of some products.

    Attributes:
        labels: rows by label, `ABSTAINED` among them.
        confidences: rows by bin of `CONFIDENCE_EDGES`, abstentions included.
        answered_mean: mean confidence of the rows with a label; None where there are none.
        answered_sd: standard deviation of the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: dict[str, Count]
    confidences: tuple[Count, ...] = Field(
        min_length=len(CONFIDENCE_EDGES), max_length=len(CONFIDENCE_EDGES)
    )
    answered_mean: float | None = Field(default=None, ge=0, le=1)
    answered_sd: float | None = Field(default=None, ge=0, le=1)

    @property
    def answered(self) -> int:
        """Rows with a label."""
        return sum(self.labels.values()) - self.labels.get(ABSTAINED, 0)


class GroupSummary(BaseModel):
    """Some products: all of a catalog, or those of one category.

    Attributes:
        modalities: rows by what their answer rests on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(ge=1)
    modalities: dict[str, Count]
    attributes: dict[str, AttributeSummary]

    @model_validator(mode="after")
    def _every_row_is_counted(self) -> "GroupSummary":
        for attribute, summary in self.attributes.items():
            if (counted := sum(summary.labels.values())) != self.rows:
                raise ValueError(
                    f"labels of {attribute} count {counted} rows, wanted {self.rows}, "
                    f"{ABSTAINED!r} included"
                )
            if (counted := sum(summary.confidences)) > self.rows:
                raise ValueError(
                    f"confidences of {attribute} count {counted} rows, wanted at most {self.rows}"
                )
        if (counted := sum(self.modalities.values())) != self.rows:
            raise ValueError(f"modalities count {counted} rows, wanted {self.rows}")
        return self


class CatalogSummary(BaseModel):
    """A catalog, or one run's part of it.

    Attributes:
        categories: the same products by category, `OTHER` among them; empty where the catalog has
            no categories.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    products: GroupSummary
    categories: dict[str, GroupSummary] = {}

    @property
    def label_counts(self) -> dict[str, dict[str, int]]:
        """Rows by attribute and label, of all products; `ABSTAINED` is among the labels."""
        return {name: summary.labels for name, summary in self.products.attributes.items()}

    @model_validator(mode="after")
    def _categories_share_out_the_products(self) -> "CatalogSummary":
        if self.categories:
            counted = sum(group.rows for group in self.categories.values())
            if counted != self.products.rows:
                raise ValueError(
                    f"categories count {counted} rows, wanted {self.products.rows}, "
                    f"{OTHER!r} included"
                )
        return self
