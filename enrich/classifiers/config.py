"""Configuration of a classifier, the content of a checkpoint's `config.json`.

It does not import torch, so that a Spark driver reads it in milliseconds.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from schemas.labels import RESERVED
from schemas.tables import is_usable_attribute

from enrich.images.settings import ImageShape

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

# The modules that answer from vectors, of all classifiers; every other one is the encoder's.
ANSWERING_MODULES = frozenset(
    {"heads", "modality_wise", "matching", "prompts", "dock_image", "dock_text"}
)
# What of a configuration changes no vector.
_ANSWERING_SETTINGS = {
    "name",
    "attributes",
    "added",
    "nulls",
    "applies_to",
    "dropout",
    "modality_wise",
    "matching",
    "prompt",
    "prompts",
    "selection_probabilities",
}


def _refuse_taken_name(attribute: str) -> str:
    if not is_usable_attribute(attribute):
        raise ValueError(
            f"attribute {attribute} has a reserved name: found a column of the output tables, "
            "expected another name"
        )
    return attribute


# It becomes the name of two columns.
AttributeName = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$"), AfterValidator(_refuse_taken_name)
]


def _refuse_reserved(labels: tuple[str, ...]) -> tuple[str, ...]:
    if taken := set(labels).intersection(RESERVED):
        raise ValueError(
            f"label {' and '.join(sorted(taken))} is reserved for products that the labels do not "
            "fit. Choose another name"
        )
    return labels


LabelSet = Annotated[tuple[str, ...], AfterValidator(_refuse_reserved)]

# A published config.json also says where code, kernels and number formats come from, and on whose
# disk it lay. None of that belongs into a checkpoint, and none of it may be followed from one.
_NOT_ARCHITECTURE = {
    "architectures",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
}


def _keep_architecture(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _keep_architecture(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _NOT_ARCHITECTURE and not key.startswith("_") and "implementation" not in key
    }


HuggingFaceJson = Annotated[dict[str, Any], AfterValidator(_keep_architecture)]


# A text about a label, which takes the place of `{label}`.
Template = Annotated[str, Field(pattern=r"\{label\}")]

# What names a checkpoint also names folders and the versions in tables.
NAME_PATTERN = r"^[A-Za-z0-9._-]+$"


class SmallTowers(BaseModel):
    """EfficientNet-Lite0 and a small text transformer, for machines without a GPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["small"] = "small"
    width: int = Field(default=192, gt=0)
    heads: int = Field(default=6, gt=0)
    text_layers: int = Field(default=2, gt=0)


class HuggingFaceTowers(BaseModel):
    """Both halves of a CLIP, SigLIP or SigLIP 2 of transformers.

    `model` is the content of its `config.json`, `logit_scale` the logarithm of the inverse
    temperature at the end of its own training, and `pad_id` the token that fills up texts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["hugging_face"] = "hugging_face"
    model: HuggingFaceJson
    logit_scale: float | None = None
    pad_id: int = 0


class PairTowers(BaseModel):
    """A vision model and a text encoder of transformers, projected to one `width`.

    Each is the content of its `config.json`; `vision` may be the sizes of the small image tower.
    Texts are pooled by their `first` token or the `mean` of all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["hugging_face_pair"] = "hugging_face_pair"
    vision: Annotated[SmallTowers | HuggingFaceJson, Field(union_mode="left_to_right")]
    text: HuggingFaceJson
    width: int = Field(gt=0)
    pooling: Literal["first", "mean"] = "first"


class OpenClipTowers(BaseModel):
    """The towers of an open_clip model, a CLIP or a CoCa, also on a model of timm.

    `model` is `model_cfg` in its `open_clip_config.json`; the rest is as in `HuggingFaceTowers`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["open_clip"] = "open_clip"
    model: dict[str, Any]
    logit_scale: float | None = None
    pad_id: int = 0

    @property
    def is_coca(self) -> bool:
        """True for a CoCa, whose text decoder looks at the picture."""
        return "multimodal_cfg" in self.model


# Relative to each other.
Share = Annotated[float, Field(gt=0, le=1)]


class Architecture(BaseModel):
    """Name and sizes of a classifier, chosen by training and kept in checkpoints.

    Attributes:
        joint_layers, joint_heads: of the transformer that sees both modalities.
        sequence_wise, modality_wise: CMA-CLIP's attentions; False is the paper's ablation.
        matching: CMA-CLIP also learns to tell a product's own text from another's.
        prompt: text about a label that zero-shot CLIP compares a product with.
        prompts: several such texts by attribute, whose embeddings are averaged.
        selection_probabilities: by which EmbraceNet draws from image and text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classifier: ClassifierName = "cma_clip"
    joint_layers: int = Field(default=2, gt=0)
    joint_heads: int = Field(default=6, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    sequence_wise: bool = True
    modality_wise: bool = True
    matching: bool = False
    prompt: Template = "a photo of a {label} product"
    prompts: dict[AttributeName, tuple[Template, ...]] = {}
    selection_probabilities: tuple[Share, Share] = (0.5, 0.5)


class ClassifierConfig(Architecture):
    """Everything that training fixed, as kept in a checkpoint's `config.json`.

    Attributes:
        attributes: labels by attribute, in the order of the logits.
        added: number of an attribute's last labels that were added after training. They have no
            head: their logits are 0, and a correction answers.
        nulls: answers behind the labels, for which NULL is published.
        applies_to: product categories of attributes that do not apply to others.
        int8: linear layers of the towers compute in int8 on a CPU.
        vectors: shapes of one product's vectors by name, in the order of storage; None before a
            classifier is built.
    """

    name: str = Field(pattern=NAME_PATTERN)
    towers: Annotated[
        SmallTowers | HuggingFaceTowers | PairTowers | OpenClipTowers,
        Field(discriminator="kind"),
    ]
    image: ImageShape
    text_length: int = Field(gt=2)
    attributes: dict[AttributeName, LabelSet] = Field(min_length=1)
    added: dict[str, int] = {}
    nulls: dict[str, tuple[Literal["not_applicable", "other"], ...]] = {}
    applies_to: dict[str, tuple[str, ...]] = {}
    int8: bool = False
    vectors: dict[str, tuple[int, ...]] | None = None

    def without_added(self) -> "ClassifierConfig":
        """Return the configuration of the attributes that have heads."""
        if not self.added:
            return self
        trained = {
            attribute: answers[: len(answers) - self.added.get(attribute, 0)]
            for attribute, answers in self.answers.items()
            if attribute not in self.headless
        }
        return self.model_copy(update={"attributes": trained, "added": {}, "nulls": {}})

    @property
    def answers(self) -> dict[str, tuple[str, ...]]:
        """Meanings of each attribute's logits, its labels and then its `nulls`."""
        return {a: (*labels, *self.nulls.get(a, ())) for a, labels in self.attributes.items()}

    @property
    def headless(self) -> tuple[str, ...]:
        """The attributes that were added as a whole."""
        return tuple(a for a, count in self.added.items() if count == len(self.answers[a]))

    @property
    def reads_image(self) -> bool:
        """True if the classifier looks at pictures; otherwise they are not opened."""
        return self.classifier != "text_only"

    @property
    def reads_text(self) -> bool:
        """True if the classifier reads titles and descriptions."""
        return self.classifier != "image_only"

    def templates(self, attribute: str) -> tuple[str, ...]:
        """Return the prompts of an attribute, with `{label}` in the label's place."""
        return self.prompts.get(attribute) or (self.prompt,)

    def width_of(self, vector: str) -> int:
        """Return the last dimension of a vector of a built classifier."""
        assert self.vectors is not None
        return self.vectors[vector][-1]

    def encoder_settings(self) -> dict[str, Any]:
        """Return the settings that vectors depend on, without defaults."""
        return self.model_dump(mode="json", exclude=_ANSWERING_SETTINGS, exclude_defaults=True)

    def answering_settings(self) -> dict[str, Any]:
        """Return the other settings that answers depend on, without the name."""
        answering = _ANSWERING_SETTINGS - {"name", "dropout"}
        return self.model_dump(mode="json", include=answering, exclude_defaults=True)
