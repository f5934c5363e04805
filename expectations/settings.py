"""How much staged labels may deviate: the `validation` part of the job's configuration.

Free of Great Expectations, whose import takes seconds that a run without work need not spend.
"""

from pydantic import BaseModel, ConfigDict, Field


class ValidationSettings(BaseModel):
    """How much a catalog may deviate before nothing of it is published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_abstained_share: float = Field(default=0.9, ge=0, le=1)
    # Shares of fewer rows are mostly chance: they are reported and never block.
    min_rows_to_enforce: int = Field(default=200, ge=0)
    # KL divergence in nats; overrides what the baseline file allows.
    max_divergence: float | None = Field(default=None, gt=0, allow_inf_nan=False)
