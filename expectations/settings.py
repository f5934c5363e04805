"""How much a catalog may deviate: the `validation` part of the job's configuration.

Free of Great Expectations, whose import takes seconds that a run without work need not spend.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0, le=1)]


class ValidationSettings(BaseModel):
    """How much a catalog may deviate before nothing of it is published.

    A tolerance is what a refresh may really differ from its baseline, because new products are no
    random sample of a catalog. On top of it comes what chance adds to a run of that size: a check
    fails where the rows would be implausible even if the catalog had moved by the whole tolerance.

    Attributes:
        false_alarm_rate: the share of sound runs in which chance may fail a check of a suite,
            warnings included, shared out evenly among the suite's checks (Bonferroni).
        max_abstained_share: rows without an answer, of the share that the baseline answers.
        max_divergence: KL divergence of the label shares from the baseline's, in nats.
        max_label_shift: share of products whose label would have to change to show the baseline's
            shares (total variation); reported, never blocking.
        max_confidence_shift: the largest change of the share of products below any confidence
            (Kolmogorov's distance).
        max_mean_confidence_shift: of the answered rows; reported, never blocking.
        max_modality_shift: total variation of what the answers rest on (image, text or both).
        min_agreement_same_model: unchanged products whose published label comes back.
        min_agreement_other_model: the same where another model_version wrote the published label.
        min_category_rows: fewer rows of a category, of a run or of its baseline, are not looked at
            on their own.
        category_slack: tolerances within one category are this many times those of the whole.
        baseline_of_other_model: `refuse` blocks a run of another model_version than the baseline's;
            `warn` reports it, and what differs from that baseline too.
        max_unusable_id_share: rows without an id, or with an id that another row has.
        max_empty_text_share: products with neither title nor description.
        max_unread_image_share: of a sample of images, before inference.
        max_same_image_share: of those that could be read, under 50 or more different paths.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    false_alarm_rate: float = Field(default=0.002, gt=0, lt=1)
    max_abstained_share: Share = 0.9
    max_divergence: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    max_label_shift: Share = 0.15
    max_confidence_shift: Share = 0.1
    max_mean_confidence_shift: Share = 0.05
    max_modality_shift: Share = 0.1
    min_agreement_same_model: Share = 0.98
    min_agreement_other_model: Share = 0.8
    min_category_rows: int = Field(default=100, ge=1)
    category_slack: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    baseline_of_other_model: Literal["refuse", "warn"] = "refuse"
    max_unusable_id_share: Share = 0.05
    max_empty_text_share: Share = 0.5
    max_unread_image_share: Share = 0.2
    max_same_image_share: Share = 0.8

    # As all settings of the job, whose package this one does not know.
    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("wanted no truth value, as YAML reads yes, no, on and off")
        return value
