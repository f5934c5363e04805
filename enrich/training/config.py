"""The file that reproduces a training run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from schemas.labels import ATTRIBUTE_LABELS

from enrich.classifiers.config import NAME_PATTERN, Architecture, AttributeName, SmallTowers
from enrich.text import fold_label

CacheKind = Literal["image_features", "image_lower"]
LossName = Literal["contrastive", "multitask"]
# Stands before the name of towers that open_clip published.
OPEN_CLIP = "open_clip:"


def _read_labels(given: object) -> object:
    if given == "from_data":
        return ()
    if isinstance(given, str):
        raise ValueError("wanted a list of labels, or from_data")
    return given


def _check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    names = [fold_label(label) for label in labels]
    if not all(names) or len(set(names)) < len(names) or len(names) == 1:
        raise ValueError("wanted two or more labels, none of them blank or there twice")
    return labels


# An attribute's labels in the order of the logits; an empty one stands for those found in the data.
LabelSet = Annotated[tuple[str, ...], BeforeValidator(_read_labels), AfterValidator(_check_labels)]


class Phase(BaseModel):
    """Some epochs with one loss. A tower learning rate of 0 freezes the pre-trained parts.

    What the frozen part of the image tower makes of the pictures is computed once and cached, which
    makes an epoch on one core two minutes instead of twenty. `upper_stages_only` freezes the lower
    half of the small image tower. `views` is the number of versions of each picture in the cache:
    one as it is, the others varied at random. Each batch draws one of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: LossName
    epochs: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    tower_learning_rate: float = Field(default=0, ge=0)
    upper_stages_only: bool = False
    views: int = Field(default=1, gt=0)

    @property
    def cached(self) -> CacheKind | None:
        """Which input of the classifier can be cached, because what makes it is frozen."""
        if self.tower_learning_rate == 0:
            return "image_features"
        return "image_lower" if self.upper_stages_only else None


class PublishedPair(BaseModel):
    """A vision model and a BERT-like text encoder, each by hub name or local folder.

    Both are projected to a shared `width`, which `joint_heads` must divide.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vision: str
    text: str
    width: int = Field(default=512, gt=0)


class TrainingConfig(Architecture):
    """Everything a training run depends on beside its data.

    `towers` is `small`, the hub name or local folder of a Hugging Face CLIP, `open_clip:` before
    the name (ViT-B-32, ViT-B-32/TAG, coca_ViT-B-32), hub name or local folder of an open_clip CLIP
    or CoCa, or a pair of a vision model and a text encoder. `image_tower` is a checkpoint whose
    small image tower replaces the published one. `attributes` gives each attribute its labels, or
    `from_data`; of these, one of the `optional_attributes` is left out where no two labels are
    found. `conventions` are attributes whose labels other shops may mean otherwise, such as style:
    they are not answered in unseen sources. Shares are in [0, 1].

    `batch_size` is how many products one step of the weights sees, however it is computed: in
    `accumulate` parts one after the other (to save memory), in each of the processes that torchrun
    started; a checkpoint's own settings count the parts of all processes, as one process would
    repeat them. The losses against labels are the same as over the whole batch; the contrastive
    loss compares the products of a part with each other only, and what `matching` adds is a mean
    over each part.

    `drop_text`, `drop_image`, `mask_label_words` and `swap_text` are the shares of rows that lose
    their text, their picture or their label words, or get another product's text. `reword_text` is
    the share of texts in which some words, but no label words, become unknown ones. `relabel_text`
    is the share of texts that are made to name other labels, which are then the right ones.

    `image_alone` is the weight of a second loss: the rows that show their picture are answered once
    more, from the picture alone.

    A training on one `half` knows one half of the groups. `half_towers` are the checkpoints of two
    such trainings, on half 0 and on half 1. Where the image tower is frozen, each picture to train
    on is shown as the tower of the other half sees it, which does not know it, see
    `unseen_views.py`.

    `fit_trust`: how far a classifier that weighs its modalities trusts pictures is fitted to
    validation groups after training. Others have nothing like it, so a comparison of attentions
    wants it off.
    The learning rate rises over the `warmup_share` of a phase's steps, then falls along a cosine.
    `weight_decay` is AdamW's, `gradient_clip` the largest norm of a step's gradients, and
    `label_smoothing` the share of a label's probability that is spread over all labels.
    `cache` is the folder for decoded pictures and the features of frozen towers; else it is beside
    the output. Every `save_every_s` seconds a state is written from which a killed run goes on.
    `patience` ends a phase after so many epochs without a better one. `ema` is the decay of an
    average of the weights over the steps, which is evaluated and kept in their place; 0 = none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    seed: int = Field(default=0, ge=0, lt=2**63)
    towers: str | PublishedPair = "small"
    small_towers: SmallTowers = SmallTowers()
    image_tower: Path | None = None
    image_size_px: int = Field(default=128, ge=64)
    text_length: int = Field(default=48, gt=2)
    vocabulary: int = Field(default=8192, gt=0)
    attributes: dict[AttributeName, LabelSet] = Field(default=ATTRIBUTE_LABELS, min_length=1)
    optional_attributes: tuple[AttributeName, ...] = ()
    conventions: tuple[AttributeName, ...] = ()
    batch_size: int = Field(default=256, gt=1)
    accumulate: int = Field(default=1, gt=0)
    phases: tuple[Phase, ...]
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.05, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    patience: int | None = Field(default=None, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    drop_text: float = Field(default=0.15, ge=0, le=1)
    drop_image: float = Field(default=0.15, ge=0, lt=1)
    mask_label_words: float = Field(default=0.5, ge=0, le=1)
    swap_text: float = Field(default=0.0, ge=0, lt=1)
    reword_text: float = Field(default=0.0, ge=0, le=1)
    relabel_text: float = Field(default=0.0, ge=0, le=1)
    image_alone: float = Field(default=0.0, ge=0)
    fit_trust: bool = True
    half: Literal[0, 1] | None = None
    half_towers: tuple[Path, ...] = Field(default=(), max_length=2)
    cache: Path | None = None
    save_every_s: float = Field(default=300, ge=0)

    @model_validator(mode="after")
    def _no_row_loses_both(self) -> "TrainingConfig":
        if self.drop_text + self.drop_image > 1:
            raise ValueError(
                "drop_text and drop_image hide different rows: together they are at most 1, not "
                f"{self.drop_text + self.drop_image:g}"
            )
        return self

    @model_validator(mode="after")
    def _upper_stages_are_those_of_small_towers(self) -> "TrainingConfig":
        if not any(phase.upper_stages_only for phase in self.phases):
            return self
        if self.towers != "small":
            raise ValueError(
                "upper_stages_only is for towers: small; others are trained as a whole or not at "
                "all: leave it out"
            )
        if self.image_size_px % 32:
            raise ValueError(
                "upper_stages_only wants an image_size_px that 32 divides, not "
                f"{self.image_size_px}"
            )
        return self

    @model_validator(mode="after")
    def _half_towers_are_two_small_ones(self) -> "TrainingConfig":
        if self.half_towers and (
            len(self.half_towers) < 2 or self.towers != "small" or self.half is not None
        ):
            raise ValueError(
                "half_towers are two small ones, the first of half 0, for a training with towers: "
                "small on all groups"
            )
        return self

    @model_validator(mode="after")
    def _an_image_tower_has_a_place(self) -> "TrainingConfig":
        if self.image_tower is not None and self.towers != "small":
            raise ValueError(
                "image_tower takes the place of the small one's weights, and these towers bring "
                "their own: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _contrast_has_something_to_train(self) -> "TrainingConfig":
        # Contrast compares the towers' own embeddings, and all of a CLIP's towers is pre-trained.
        is_clip = isinstance(self.towers, str) and self.towers != "small"
        for phase in self.phases:
            frozen = phase.tower_learning_rate == 0
            if is_clip and phase.loss == "contrastive" and frozen:
                raise ValueError(
                    "a contrastive phase on a CLIP or CoCa has nothing to train; "
                    "give it a tower_learning_rate above 0, or leave it out"
                )
        return self
