"""What a classifier is built from: the content of a checkpoint's `config.json`.

Free of torch, so that a Spark driver can read it without paying for torch.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from enrich.preprocess import ImageShape


class SmallTowers(BaseModel):
    """Towers for machines without a GPU: EfficientNet-Lite0 and a small text transformer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["small"] = "small"
    width: int = 192
    heads: int = 6
    text_layers: int = 2


class ClipTowers(BaseModel):
    """The towers of a Hugging Face CLIP; `clip` is the content of its `config.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["hugging_face_clip"] = "hugging_face_clip"
    clip: dict[str, Any]


class ClassifierConfig(BaseModel):
    """Everything that training fixed, as kept in a checkpoint's `config.json`.

    `attributes` maps each attribute to its labels in the order of the logits. `scoring` is the
    modality-wise attention's: one scoring vector per modality, or one for both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    classifier: Literal["cma_clip"] = "cma_clip"
    towers: Annotated[SmallTowers | ClipTowers, Field(discriminator="kind")]
    image: ImageShape
    text_length: int = Field(gt=2)
    attributes: dict[str, tuple[str, ...]] = Field(min_length=1)
    joint_layers: int = 2
    joint_heads: int = 6
    dropout: float = Field(default=0.1, ge=0, lt=1)
    scoring: Literal["per_modality", "shared"] = "per_modality"
