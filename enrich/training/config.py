"""The file that reproduces a training run."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from schemas.labels import ATTRIBUTE_LABELS

from enrich.classifiers.config import Architecture, SmallTowers


class Phase(BaseModel):
    """Some epochs with one loss. A tower learning rate of 0 freezes the pre-trained parts.

    While the image tower is frozen its features are computed once and cached, which makes an epoch
    on two cores minutes instead of a quarter of an hour.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Literal["contrastive", "multitask"]
    epochs: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    tower_learning_rate: float = Field(default=0, ge=0)


class TrainingConfig(Architecture):
    """Everything a training run depends on beside its data.

    `towers` is `small`, or the hub name or local folder of a Hugging Face CLIP. Shares and
    probabilities are in [0, 1].
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str
    seed: int = 0
    towers: str = "small"
    small_towers: SmallTowers = SmallTowers()
    image_size_px: int = 128
    text_length: int = 48
    vocabulary: int = 8192
    attributes: dict[str, tuple[str, ...]] = ATTRIBUTE_LABELS
    batch_size: int = Field(default=256, gt=1)
    phases: tuple[Phase, ...] = Field(min_length=1)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    drop_text: float = Field(default=0.15, ge=0, lt=1)
    drop_image: float = Field(default=0.15, ge=0, lt=1)
    mask_label_words: float = Field(default=0.5, ge=0, le=1)
    cache: Path | None = None

    @model_validator(mode="after")
    def _contrast_has_something_to_train(self) -> "TrainingConfig":
        # Contrast compares the towers' own embeddings, and all of a CLIP's towers is pre-trained.
        for phase in self.phases:
            frozen = phase.tower_learning_rate == 0
            if self.towers != "small" and phase.loss == "contrastive" and frozen:
                raise ValueError(
                    "a contrastive phase on a Hugging Face CLIP has nothing to train; "
                    "give it a tower_learning_rate above 0, or leave it out"
                )
        return self
