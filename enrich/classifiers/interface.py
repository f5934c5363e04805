"""What every classifier takes and returns. Knows no particular classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.tower_interface import Encoded, ImageTower, TextTower
from enrich.tokenizer import TextEncoder


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """One batch. A row must have an image, a text, or both; what it lacks may hold any values.

    `pixel_values` are raw uint8; the classifier normalises on the device. Training on a frozen
    image tower passes the tower's cached `image_features` instead, and training of its upper stages
    what the lower ones made of the pixels, `image_lower`.
    """

    token_ids: Int[Tensor, "B L"]
    token_mask: Bool[Tensor, "B L"]
    has_image: Bool[Tensor, " B"]
    has_text: Bool[Tensor, " B"]
    pixel_values: UInt8[Tensor, "B 3 H W"] | None = None
    image_features: Float[Tensor, "B M C"] | None = None
    image_lower: Float[Tensor, "B N"] | None = None

    def to(self, device: torch.device) -> "ModelInputs":
        """Returns the batch on `device`; to a GPU it is copied without waiting."""
        return self._map(lambda tensor: _copy(tensor, device))

    def rows(self, start: int, stop: int) -> "ModelInputs":
        """Returns the rows from `start` to before `stop`."""
        return self._map(lambda tensor: tensor[start:stop])

    def images_alone(self) -> "ModelInputs":
        """Returns the rows that have an image, without their texts."""
        shown = self._map(lambda tensor: tensor[self.has_image])
        return replace(
            shown,
            # One token that is not read: there is no batch of texts without any.
            token_ids=shown.token_ids[:, :1],
            token_mask=shown.token_mask[:, :1],
            has_text=torch.zeros_like(shown.has_text),
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> "ModelInputs":
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: change(t) for n, t in given.items() if t is not None})


class JointCls(NamedTuple):
    """What CMA-CLIP answers from: I'_CLS and T'_CLS of a batch, and which of them a row really has.

    That is, the embeddings that stand for the image and the text after joint attention.
    """

    image_cls: Float[Tensor, "B D"]
    text_cls: Float[Tensor, "B D"]
    has_image: Bool[Tensor, " B"]
    has_text: Bool[Tensor, " B"]

    @staticmethod
    def combine(
        parts: "Sequence[JointCls]", change: Callable[[list[Tensor]], Tensor]
    ) -> "JointCls":
        """Returns the tensors that `change` makes, each of the list of the same one in `parts`."""
        return JointCls(*(change(list(same)) for same in zip(*parts, strict=True)))

    def to(self, device: torch.device) -> "JointCls":
        """Returns the same on `device`."""
        return JointCls(*(part.to(device) for part in self))

    def in_full_precision(self) -> "JointCls":
        """Returns the same in float32."""
        return self._replace(image_cls=self.image_cls.float(), text_cls=self.text_cls.float())


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a classifier says of one batch.

    The pooled embeddings are what contrastive training compares; those of a missing modality are
    meaningless. `image_weight` is the share of the image in each attribute's answer, in [0, 1];
    empty where a classifier does not weigh its modalities. `matching` is a score of the text being
    the image's own, for classifiers that learn to tell. `joint` is what the answers were made from,
    where a classifier can answer from it again with another trust in the image.
    """

    logits: dict[str, Float[Tensor, "B _"]]
    image_embeds: Float[Tensor, "B D"]
    text_embeds: Float[Tensor, "B D"]
    image_weight: dict[str, Float[Tensor, " B"]] = field(default_factory=dict)
    matching: Float[Tensor, " B"] | None = None
    joint: JointCls | None = None

    def to(self, device: torch.device) -> "ModelOutput":
        """Returns the output on `device`."""
        return _combine([self], lambda same: same[0].to(device))

    def take(self, rows: Int[Tensor, " N"]) -> "ModelOutput":
        """Returns the output for these rows, in this order; a row may be taken more than once."""
        return _combine([self], lambda same: same[0][rows])

    @staticmethod
    def join(outputs: "Sequence[ModelOutput]") -> "ModelOutput":
        """Returns the rows of one classifier's outputs, in order; there is at least one."""
        return _combine(outputs, torch.cat)


def _combine(
    outputs: Sequence[ModelOutput], change: Callable[[list[Tensor]], Tensor]
) -> ModelOutput:
    """Returns the tensors that `change` makes, each of the list of the same one in `outputs`."""

    def combine_each(by_attribute: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: change([one[name] for one in by_attribute]) for name in by_attribute[0]}

    matching = [one.matching for one in outputs if one.matching is not None]
    joint = [one.joint for one in outputs if one.joint is not None]
    return ModelOutput(
        logits=combine_each([one.logits for one in outputs]),
        image_embeds=change([one.image_embeds for one in outputs]),
        text_embeds=change([one.text_embeds for one in outputs]),
        image_weight=combine_each([one.image_weight for one in outputs]),
        matching=change(matching) if matching else None,
        joint=JointCls.combine(joint, change) if joint else None,
    )


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Classifier(nn.Module):
    """Image and text of a batch of products to logits per attribute.

    A subclass's docstring starts with the line that a list of classifiers shows. `paper` says where
    it is described, `starts_from` which published weights can fill it, `trained_by` which losses
    can train it, `contrasts_towers` whether contrast compares what the towers themselves return.
    """

    paper: ClassVar[str]
    starts_from: ClassVar[tuple[str, ...]] = (
        "EfficientNet-Lite0",
        "Hugging Face CLIP",
        "Hugging Face vision and text models",
        "open_clip CLIP or CoCa",
    )
    trained_by: ClassVar[frozenset[str]] = frozenset({"contrastive", "multitask"})
    contrasts_towers: ClassVar[bool] = True
    image_tower: ImageTower
    text_tower: TextTower
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        """Makes random weights for a tokenizer of `vocabulary` tokens; subclasses add their own."""
        super().__init__()
        self.config = config
        # Buffers, to be on the device once: a copy for every batch would have to be waited for.
        for name, values in (("pixel_mean", config.image.mean), ("pixel_std", config.image.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where its weights are, and it computes."""
        return self.pixel_mean.device

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        """Takes what a classifier must know of the tokenizer; called once before training."""

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        """Returns logits, modality weights and pooled embeddings."""
        raise NotImplementedError

    def encode(self, inputs: ModelInputs) -> tuple[Encoded, Encoded]:
        """Returns what the towers make of the batch: image and text.

        Raises:
            ValueError: the batch holds no `pixel_values`, `image_lower` or `image_features`.
        """
        text = self.text_tower(inputs.token_ids, inputs.token_mask)
        return self.encode_image(inputs), text

    def encode_image(self, inputs: ModelInputs) -> Encoded:
        """Returns what the image tower makes of the batch.

        Raises:
            ValueError: the batch holds no `pixel_values`, `image_lower` or `image_features`.
        """
        tower = self.image_tower
        if inputs.image_features is not None:
            features = inputs.image_features
        elif inputs.image_lower is not None:
            features = tower.upper(inputs.image_lower)
        elif inputs.pixel_values is not None:
            features = self._read_pixels(inputs.pixel_values, inputs.has_image)
        else:
            raise ValueError("a batch needs pixel_values, image_lower or image_features")
        return tower.embed(features)

    def _read_pixels(
        self, pixels: UInt8[Tensor, "B 3 H W"], has_image: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B M C"]:
        """Returns the image tower's features; on a CPU zeros where there is no image to look at."""
        read = self.image_tower.features
        # All of them on a GPU, which would have to be waited for to know how many images there are,
        # and in training, where norms want the whole batch.
        if self.training or pixels.is_cuda or bool(has_image.all()):
            return read(self.normalise_pixels(pixels))
        # One row at least: not every tower takes a batch of none.
        rows = has_image.nonzero()[:, 0] if has_image.any() else torch.zeros(1, dtype=torch.long)
        seen = read(self.normalise_pixels(pixels[rows]))
        features = seen.new_zeros(len(pixels), *seen.shape[1:])
        features[rows] = seen
        return features

    def pretrained(self) -> list[nn.Module]:
        """Returns the parts that start from published weights (their own learning rate)."""
        towers = (self.image_tower.pretrained(), self.text_tower.pretrained())
        return [tower for tower in towers if tower is not None]

    def normalise_pixels(self, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Returns pixels scaled to [0, 1], less the mean, over the standard deviation."""
        scaled = pixels.contiguous(memory_format=torch.channels_last).float().div_(255)
        return scaled.sub_(self.pixel_mean).div_(self.pixel_std)
