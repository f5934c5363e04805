"""Tolerances of the gate, `validation` in the job's configuration.

Imports neither Great Expectations nor Spark, which cost seconds.
"""

from typing import Annotated, Any, Literal

from enrich.settings_files import YamlSettings
from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class ExpectationSetting(BaseModel):
    """One expectation of Great Expectations, its `type` and its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str

    @property
    def arguments(self) -> dict[str, Any]:
        """All keys but `type`, as Great Expectations takes them."""
        return dict(self.model_extra or {})


class ValidationSettings(YamlSettings):
    """Deviations of a run that block it.

    Products of a refresh are not a random sample of a catalog, so each limit is how much may really
    differ. Runs that are too small to tell that from chance get an allowance, see
    docs/validation.md.
    """

    max_unusable_id_share: Share = Field(
        default=0.05,
        description="Share of rows without a usable `product_id`, or with a repeated one.",
    )
    max_empty_text_share: Share = Field(
        default=0.5,
        description="Share of new products without a text. Set 1 for a catalog of pictures alone.",
    )
    max_unread_image_share: Share = Field(
        default=0.2,
        description="Share of a sample of 100 images that cannot be read. Raise it together with "
        "`max_failed_images_share`.",
    )
    max_same_image_share: Share = Field(
        default=0.8,
        description="Share of that sample that is the same picture, such as a placeholder. Checked "
        "from 50 images on.",
    )
    max_abstained_share: Share = Field(
        default=0.9,
        description="Share of products without a label, per attribute. With a baseline of the same "
        "checkpoint it is relative: if half have a label there, 0.9 allows 95 % NULL. Without a "
        "baseline, an [unseen source](tables.md#unseen-sources) gets a warning only.",
    )
    max_label_shift: Share = Field(
        default=0.08,
        description="Difference to the baseline in the share of one label, or of NULL.",
    )
    max_total_label_shift: Share = Field(
        default=0.2,
        description="Difference to the baseline in all labels together: the share of products that "
        "would need another label to match it (total variation).",
    )
    max_confidence_shift: Share = Field(
        default=0.15,
        description="Difference to the baseline in the share of products below a confidence, at "
        "the confidence where it is largest (Kolmogorov's distance).",
    )
    max_modality_shift: Share = Field(
        default=0.1,
        description="Difference to the baseline in the shares of `modalities` (total variation).",
    )
    max_moved_same_model: Share = Field(
        default=0.02,
        description="Share of products of unchanged content whose best label changes under the "
        "same `model_version`.",
    )
    max_moved_other_model: Share = Field(
        default=0.2, description="The same under another `model_version`."
    )
    min_category_rows: int = Field(
        default=100,
        ge=1,
        description="Categories with fewer products, in the run or the baseline, are not compared "
        "separately.",
    )
    category_slack: float = Field(
        default=2.0,
        ge=1,
        allow_inf_nan=False,
        description="Factor by which the limits are larger within one category.",
    )
    baseline_of_other_model: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="If run and baseline have different `model_version`s, `refuse` blocks the run, "
        "and `warn` [only reports](validation.md#a-new-checkpoint) differences.",
    )
    false_alarm_rate: float = Field(
        default=0.005,
        gt=0,
        lt=1,
        description="Share of sound runs that may fail a check of a suite by chance.",
    )
    expectations: tuple[ExpectationSetting, ...] = Field(
        default=(),
        description="[Expectations of your own](validation.md#your-own-expectations).",
    )
    expectation_modules: tuple[str, ...] = Field(
        default=(),
        description="Python modules that define your expectations.",
    )
