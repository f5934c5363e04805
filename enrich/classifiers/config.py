"""What a classifier is built from: the content of a checkpoint's `config.json`.

Free of torch, so that a Spark driver can read it without paying for torch.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from enrich.preprocess import ImageShape

ClassifierName = Literal[
    "cma_clip",
    "clip_zero_shot",
    "clip_sum",
    "clip_mlp",
    "clip_transformer",
    "mmbt",
    "embracenet",
    "perceiver_io",
    "coca",
    "image_only",
    "text_only",
    "single_stream",
]


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


class Architecture(BaseModel):
    """Which classifier, and its sizes: what a training run chooses and a checkpoint keeps.

    `joint_layers` and `joint_heads` are those of the transformer that sees both modalities. The
    other switches are CMA-CLIP's: leaving out an attention is the paper's ablation, and `scoring`
    gives its modality-wise attention one scoring vector per modality, or one for both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classifier: ClassifierName = "cma_clip"
    joint_layers: int = 2
    joint_heads: int = 6
    dropout: float = Field(default=0.1, ge=0, lt=1)
    sequence_wise: bool = True
    modality_wise: bool = True
    scoring: Literal["per_modality", "shared"] = "per_modality"


class ClassifierConfig(Architecture):
    """Everything that training fixed, as kept in a checkpoint's `config.json`.

    `attributes` maps each attribute to its labels in the order of the logits.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    towers: Annotated[SmallTowers | ClipTowers, Field(discriminator="kind")]
    image: ImageShape
    text_length: int = Field(gt=2)
    attributes: dict[str, tuple[str, ...]] = Field(min_length=1)
