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
        description="New products with neither title nor description, or only markup in them; 1 "
        "for a catalog of pictures alone.",
    )
    max_unread_image_share: Share = Field(
        default=0.2,
        description="Images of a sample of 100 that cannot be read. Raise it together with "
        "`max_failed_images_share`.",
    )
    max_same_image_share: Share = Field(
        default=0.8,
        description="Images of that sample, if it has 50 or more paths, that are one and the same "
        "picture, as where a placeholder is shown for all.",
    )
    max_abstained_share: Share = Field(
        default=0.9,
        description="Products without a label, per attribute; a warning in an "
        "[unseen source](tables.md#unseen-sources) without a baseline. With a baseline of the same "
        "checkpoint: of those that have one there. Where that is half, 0.9 lets 95 % be NULL.",
    )
    max_label_shift: Share = Field(
        default=0.08,
        description="Share of products by which a label may be more or less frequent than in the "
        "baseline. NULL counts as a label.",
    )
    max_total_label_shift: Share = Field(
        default=0.2,
        description="Share of products that would need another label to show the baseline's "
        "shares (total variation).",
    )
    max_confidence_shift: Share = Field(
        default=0.15,
        description="Share of products by which more or fewer may lie below any one confidence "
        "than in the baseline (Kolmogorov's distance).",
    )
    max_modality_shift: Share = Field(
        default=0.1,
        description="Share of products that may rest on other modalities than in the baseline "
        "(total variation).",
    )
    max_moved_same_model: Share = Field(
        default=0.02,
        description="Products with unchanged content whose best label may change although the "
        "same `model_version` answers.",
    )
    max_moved_other_model: Share = Field(
        default=0.2, description="The same where another `model_version` wrote the published row."
    )
    min_category_rows: int = Field(
        default=100,
        ge=1,
        description="Categories with fewer products, in the run or in the baseline, are not "
        "compared on their own.",
    )
    category_slack: float = Field(
        default=2.0,
        ge=1,
        allow_inf_nan=False,
        description="Limits within one category are so many times those of the whole run.",
    )
    baseline_of_other_model: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="`refuse` blocks a run of another `model_version` than the baseline's. `warn` "
        "reports it, and [reports whatever differs from that baseline]"
        "(validation.md#a-new-checkpoint).",
    )
    false_alarm_rate: float = Field(
        default=0.005,
        gt=0,
        lt=1,
        description="Share of sound runs in which chance may fail any check of a suite. Divided "
        "evenly among the checks (Bonferroni).",
    )
    expectations: tuple[ExpectationSetting, ...] = Field(
        default=(),
        description="[Further expectations](validation.md#your-own-expectations) of Great "
        "Expectations on the answers before they are published.",
    )
    expectation_modules: tuple[str, ...] = Field(
        default=(),
        description="Python modules to import first, which define expectations of your own.",
    )

    # As all settings of the job, whose package this one does not know.
    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("found a truth value (YAML reads yes, no, on and off as one)")
        return value
