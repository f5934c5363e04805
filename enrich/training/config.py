"""Settings of a training run, which reproduce it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from schemas.labels import ATTRIBUTE_LABELS, RESERVED

from enrich.classifiers.config import NAME_PATTERN, Architecture, AttributeName, SmallTowers
from enrich.text import fold_label

CacheKind = Literal["image_features", "image_lower"]
LossName = Literal["contrastive", "multitask"]
# Prefix of the names of towers that open_clip published.
OPEN_CLIP = "open_clip:"
# Name of the towers for machines without a GPU.
SMALL = "small"


def _read_labels(given: object) -> object:
    if given == "from_data":
        return ()
    if isinstance(given, str):
        raise ValueError(f"found {given!r}, expected a list of labels, or from_data")
    return given


def _check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    names = [fold_label(label) for label in labels]
    if not all(names) or len(set(names)) < len(names) or len(names) == 1:
        raise ValueError("expected two or more labels, without blank or repeated ones")
    if taken := [label for label in labels if label.casefold() in RESERVED]:
        raise ValueError(
            f"found {' and '.join(taken)}, which stands for products that the labels do not fit, "
            "expected other labels. Leave it out: such products count as unlabelled"
        )
    return labels


# The labels of an attribute in the order of the logits; () takes the labels from the data.
LabelSet = Annotated[tuple[str, ...], BeforeValidator(_read_labels), AfterValidator(_check_labels)]


class Phase(BaseModel):
    """Some epochs with one loss.

    A tower learning rate of 0 freezes the pre-trained parts. Features of the frozen part of the
    image tower are computed once and cached: an epoch on one core takes two minutes, not twenty.
    `upper_stages_only` freezes the lower half of the small image tower. `views` is the number of
    versions of each picture in the cache: one as it is, the others varied at random. Each batch
    draws one of them. `text_learning_rate` is that of the text tower, where it differs; each layer
    of a tower has `layer_decay` times the rate of the layer above it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: LossName
    epochs: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    tower_learning_rate: float = Field(default=0.0, ge=0)
    text_learning_rate: float | None = Field(default=None, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    upper_stages_only: bool = False
    views: int = Field(default=1, gt=0)

    @property
    def text_rate(self) -> float:
        """The learning rate of the text tower; 0 freezes it, unless it is new."""
        own = self.text_learning_rate
        return self.tower_learning_rate if own is None else own

    @property
    def cached(self) -> CacheKind | None:
        """The input of the classifier that can be cached, because its layers are frozen."""
        if self.tower_learning_rate == 0:
            return "image_features"
        return "image_lower" if self.upper_stages_only else None


class Lora(BaseModel):
    """Low-rank matrices, trained for pre-trained weights and merged with them.

    They are of `rank`, count `alpha` / `rank`, and belong to linear layers of the upper `layers` of
    each tower, or of all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32, gt=0)
    layers: int | None = Field(default=None, gt=0)


class PublishedPair(BaseModel):
    """A vision model and a BERT-like text encoder, each by hub name or local folder.

    Both are projected to a shared `width`, a multiple of `joint_heads`. `vision: small` is the
    small image tower.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vision: str
    text: str
    width: int = Field(default=512, gt=0)


class TrainingConfig(Architecture):
    """All settings of a training run.

    `towers` is `small`, the hub name or local folder of a Hugging Face CLIP, SigLIP or SigLIP 2,
    `open_clip:` before the hub name or local folder of an open_clip model, or a pair of a vision
    model and a text encoder. `image_tower` is a checkpoint whose small image tower replaces the
    published one, `text_tower` one whose small text tower and tokenizer are started from, and
    frozen like others. `attributes` gives each attribute its labels, or `from_data`; of the latter,
    `optional_attributes` are left out if fewer than two labels are found. `conventions` are
    attributes whose labels other sources may mean otherwise, such as style: they are not answered
    in unseen sources. `leave_out` has values of columns of the catalogs, such as kinds of goods,
    whose products are left out. Shares are in [0, 1].

    `batch_size` is the number of products in one step of the weights. A step is computed in
    `accumulate` parts one after the other (to save memory) in each process of torchrun. The
    settings in a checkpoint count the parts of all processes, as one process would repeat them. The
    losses against labels are those of the whole batch; the contrastive loss compares the products
    of a part with each other only, and the loss of `matching` is a mean over each part.

    `drop_text`, `drop_image`, `mask_label_words` and `swap_text` are the shares of rows that lose
    their text, their picture or their label words, or get the text of another product.
    `reword_text` is the share of texts in which words other than label words become unknown words.
    `relabel_text` is the share of texts that are made to name other labels, which become the labels
    to learn. `image_alone` is the weight of a second loss, of answers to the pictures alone, and
    `captioning` that of a CoCa's captions beside the contrast.

    `augmentation` changes pictures that are not cached: `catalog` as fits photographs of products
    on white, `off`, or by a list of transforms of `torchvision.transforms.v2` with their arguments,
    on the device. `lora` trains adapters of towers whose learning rate is above 0 in their place,
    and `recompute_activations` saves memory of pre-trained layers for about a third of the time.

    A training on one `half` knows one half of the groups. `half_towers` are the checkpoints of two
    such trainings, on half 0 and on half 1: features of a frozen image tower are cross-fitted with
    them, see `caches.py`. `soft_labels` is the share of the loss of pictures alone that is against
    the answers of the half tower that has not seen the picture, see `soft_labels.py`.

    The learning rate rises over the `warmup_share` of a phase's steps, then falls along a cosine.
    `weight_decay` is AdamW's, `gradient_clip` the largest norm of a step's gradients, and
    `label_smoothing` the share of a label's probability that is spread over all labels.
    `cache` is the folder for decoded pictures and cached features; else it is beside the output.
    Every `save_every_s` seconds a state is written that a killed run continues from. `ema` is
    the decay of an average of the weights over the steps, which is evaluated and kept in their
    place; 0 turns it off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    seed: int = Field(default=0, ge=0, lt=2**63)
    towers: str | PublishedPair = "small"
    small_towers: SmallTowers = SmallTowers()
    image_tower: Path | None = None
    text_tower: Path | None = None
    image_size_px: int = Field(default=128, ge=64)
    text_length: int = Field(default=48, gt=2)
    vocabulary: int = Field(default=8192, gt=0)
    attributes: dict[AttributeName, LabelSet] = Field(default=ATTRIBUTE_LABELS, min_length=1)
    optional_attributes: tuple[AttributeName, ...] = ()
    conventions: tuple[AttributeName, ...] = ()
    leave_out: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    batch_size: int = Field(default=256, gt=1)
    accumulate: int = Field(default=1, gt=0)
    phases: tuple[Phase, ...]
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.05, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema: float = Field(default=0.0, ge=0, lt=1)
    drop_text: float = Field(default=0.15, ge=0, le=1)
    drop_image: float = Field(default=0.15, ge=0, lt=1)
    mask_label_words: float = Field(default=0.5, ge=0, le=1)
    swap_text: float = Field(default=0.0, ge=0, lt=1)
    reword_text: float = Field(default=0.0, ge=0, le=1)
    relabel_text: float = Field(default=0.0, ge=0, le=1)
    image_alone: float = Field(default=0.0, ge=0)
    augmentation: Literal["catalog", "off"] | tuple[dict[str, dict[str, Any]], ...] = "catalog"
    lora: Lora | None = None
    recompute_activations: bool = False
    captioning: float = Field(default=2.0, ge=0)
    half: Literal[0, 1] | None = None
    half_towers: tuple[Path, ...] = Field(default=(), max_length=2)
    soft_labels: float = Field(default=0.0, ge=0, le=1)
    cache: Path | None = None
    save_every_s: float = Field(default=300, ge=0)

    @property
    def on_small_image_tower(self) -> bool:
        """True if pictures are read by the small image tower."""
        return SMALL in (self.towers, getattr(self.towers, "vision", None))

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "TrainingConfig":
        if (hidden := self.drop_text + self.drop_image) > 1:
            raise ValueError(
                f"drop_text and drop_image hide different rows: found {hidden:g} together, "
                "expected at most 1"
            )
        is_small = self.on_small_image_tower
        if self.text_tower and self.towers != SMALL:
            raise ValueError(
                f"text_tower does not fit the towers: found {self.towers}, expected small. Leave "
                "it out."
            )
        for name in ("image_tower", "half_towers"):
            if getattr(self, name) and not is_small:
                raise ValueError(
                    f"{name} does not fit the towers: found {self.towers}, expected small. Leave "
                    "it out."
                )
        if self.half_towers and (len(self.half_towers) < 2 or self.half is not None):
            raise ValueError(
                "half_towers are wrong: expected the checkpoints of half 0 and half 1, and no half"
            )
        if self.soft_labels and not self.half_towers:
            raise ValueError(
                "soft_labels have no effect without half_towers: give both, or neither"
            )
        if self.soft_labels and self.drop_text < 1 and not self.image_alone:
            raise ValueError(
                "soft_labels have no effect: found no loss of pictures alone, expected drop_text: "
                "1 or image_alone above 0"
            )
        if self.augmentation != "catalog" and any(one.views > 1 for one in self.phases):
            raise ValueError(
                "augmentation does not fit a phase's views: found views above 1, which are varied "
                "as by catalog, expected 1"
            )
        if unknown := set(self.conventions) - {*self.attributes, *ATTRIBUTE_LABELS}:
            raise ValueError(
                f"conventions names an unknown attribute: found {', '.join(sorted(unknown))}, "
                f"expected some of {', '.join(self.attributes)}."
            )
        if self.lora and not any(
            max(one.tower_learning_rate, one.text_rate) for one in self.phases
        ):
            raise ValueError(
                "lora has no effect: found frozen towers in every phase, expected a "
                "tower_learning_rate above 0. Or leave lora out."
            )
        # Contrast compares the towers' own embeddings, and all of a CLIP's towers is pre-trained.
        is_clip = isinstance(self.towers, str) and self.towers != SMALL
        for phase in self.phases:
            if phase.upper_stages_only and (not is_small or self.image_size_px % 32):
                raise ValueError(
                    f"upper_stages_only does not fit: found towers: {self.towers} and "
                    f"image_size_px: {self.image_size_px}, expected small and a multiple of 32"
                )
            is_frozen = max(phase.tower_learning_rate, phase.text_rate) == 0
            if is_clip and phase.loss == "contrastive" and is_frozen:
                raise ValueError(
                    "a contrastive phase on a CLIP or CoCa cannot train: found a "
                    "tower_learning_rate of 0, expected one above 0. Or leave the phase out."
                )
        return self
