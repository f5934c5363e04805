"""Tolerances of the gate, `validation` in the job's configuration.

Imports neither Great Expectations nor Spark, which cost seconds.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0, le=1)]


class ExpectationSetting(BaseModel):
    """One expectation of Great Expectations, its `type` and its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str

    @property
    def arguments(self) -> dict[str, Any]:
        """All keys but `type`, as Great Expectations takes them."""
        return dict(self.model_extra or {})


class ValidationSettings(BaseModel):
    """Deviations of a run that block it.

    Products of a refresh are not a random sample of a catalog, so each limit is how much may really
    differ. Runs that are too small to tell that from chance get an allowance, see
    docs/validation.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_unusable_id_share: Share = Field(
        default=0.05,
        description="Rows without a usable `product_id`, or with one that another row has.",
    )
    max_empty_text_share: Share = Field(
        default=0.5,
        description="New products without a text. Set 1 for a catalog of pictures alone.",
    )
    max_unread_image_share: Share = Field(
        default=0.2,
        description="Images of a sample of 100 that cannot be read. Raise it together with "
        "`max_failed_images_share`.",
    )
    max_same_image_share: Share = Field(
        default=0.8,
        description="Images of that sample, of 50 or more, that are the same picture, such as a "
        "placeholder.",
    )
    max_abstained_share: Share = Field(
        default=0.9,
        description="Products without a label, per attribute. With a baseline of the same "
        "checkpoint: of the share that has one there, so where that is half, 0.9 lets 95 % be "
        "NULL. Without one, an [unseen source](tables.md#unseen-sources) is only warned about.",
    )
    max_label_shift: Share = Field(
        default=0.08,
        description="Share of products by which a label, or NULL, may be more or less frequent "
        "than in the baseline.",
    )
    max_total_label_shift: Share = Field(
        default=0.2,
        description="Share of products that would need another label to show the baseline's "
        "shares (total variation).",
    )
    max_confidence_shift: Share = Field(
        default=0.15,
        description="Share of products by which more or fewer may lie below any confidence than in "
        "the baseline (Kolmogorov's distance).",
    )
    max_modality_shift: Share = Field(
        default=0.1,
        description="Share of products that may rest on other modalities than there (total "
        "variation).",
    )
    max_moved_same_model: Share = Field(
        default=0.02,
        description="Products of unchanged content whose best label may change under the same "
        "`model_version`.",
    )
    max_moved_other_model: Share = Field(
        default=0.2, description="The same under another `model_version`."
    )
    min_category_rows: int = Field(
        default=100,
        ge=1,
        description="Categories with fewer products, in run or baseline, are not compared on their "
        "own.",
    )
    category_slack: float = Field(
        default=2.0,
        ge=1,
        allow_inf_nan=False,
        description="Factor of the limits within one category.",
    )
    baseline_of_other_model: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="`refuse` blocks a run of another `model_version` than the baseline's; `warn` "
        "[only reports](validation.md#a-new-checkpoint) what differs.",
    )
    false_alarm_rate: float = Field(
        default=0.005,
        gt=0,
        lt=1,
        description="Share of sound runs in which chance may fail any check of a suite.",
    )
    expectations: tuple[ExpectationSetting, ...] = Field(
        default=(),
        description="[Expectations of your own](validation.md#your-own-expectations).",
    )
    expectation_modules: tuple[str, ...] = Field(
        default=(),
        description="Python modules that define expectations, imported first.",
    )

    # As all settings of the job, whose package this one does not know.
    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("found a truth value (YAML reads yes, no, on and off as one)")
        return value
