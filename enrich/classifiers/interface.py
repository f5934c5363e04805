"""What every classifier takes and returns. Knows no particular classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
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


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a classifier says of one batch.

    The pooled embeddings are what contrastive training compares; those of a missing modality are
    meaningless. `image_weight` is the share of the image in each attribute's answer, in [0, 1],
    attributes in the order of the configuration; None where a classifier does not weigh its
    modalities. `matching` is a score of the text being the image's own, for classifiers that
    learn to tell.
    """

    logits: dict[str, Float[Tensor, "B _"]]
    image_embeds: Float[Tensor, "B D"]
    text_embeds: Float[Tensor, "B D"]
    image_weight: Float[Tensor, "B K"] | None = None
    matching: Float[Tensor, " B"] | None = None

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
    """Returns what `change` makes of each tensor, taken from all of the outputs."""
    weights = [one.image_weight for one in outputs if one.image_weight is not None]
    matching = [one.matching for one in outputs if one.matching is not None]
    return ModelOutput(
        logits={
            attribute: change([one.logits[attribute] for one in outputs])
            for attribute in outputs[0].logits
        },
        image_embeds=change([one.image_embeds for one in outputs]),
        text_embeds=change([one.text_embeds for one in outputs]),
        image_weight=change(weights) if weights else None,
        matching=change(matching) if matching else None,
    )


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tower's output: one embedding a token, and which one stands for the whole.

    `pooled_at` points at the image's CLS token or the text's end-of-text token.
    """

    embeds: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]
    pooled_at: Int[Tensor, " B"]

    @classmethod
    def cls_first(cls, embeds: Float[Tensor, "B N D"]) -> "Encoded":
        """Returns an image's tokens: the first stands for the whole, and none is padding."""
        mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        return cls(embeds, mask, torch.zeros(len(embeds), dtype=torch.long, device=embeds.device))

    @property
    def pooled(self) -> Float[Tensor, "B D"]:
        """The embedding that stands for the whole image or text."""
        return take(self.embeds, self.pooled_at)

    def pooled_where(self, present: Bool[Tensor, " B"]) -> Float[Tensor, "B D"]:
        """Returns the pooled embedding, zero for the rows that lack this modality."""
        return self.pooled.masked_fill(~present.unsqueeze(1), 0)


def take(embeds: Float[Tensor, "B N D"], at: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
    """Returns for each row the embedding at its own position."""
    return embeds[torch.arange(embeds.shape[0], device=embeds.device), at]


def joint_sequence(
    image: Encoded, text: Encoded, inputs: ModelInputs
) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
    """Returns the tokens of both, text first, and which of them a row really has."""
    mask = [text.mask & inputs.has_text.unsqueeze(1), image.mask & inputs.has_image.unsqueeze(1)]
    return torch.cat([text.embeds, image.embeds], dim=1), torch.cat(mask, dim=1)


class ImageTower(nn.Module):
    """Pixels to patch embeddings, in two steps so that frozen features can be cached.

    A tower whose embeddings are CLS, then `grid` x `grid` patches row by row, then whatever else,
    says so by `grid`; a picture of the attention is drawn of such towers only. One that is not
    looked at is `absent`.
    """

    absent: ClassVar[bool] = False
    width: int
    grid: int = 0

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        """Returns what the pre-trained part computes from normalised pixels."""
        raise NotImplementedError

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        """Returns the patch embeddings, CLS first, from the features."""
        raise NotImplementedError

    def lower(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        """Returns what stays the same while only the upper stages are trained; may be cached."""
        raise NotImplementedError(f"{type(self).__name__} is trained as a whole or not at all")

    def upper(self, lower: Float[Tensor, "B N"]) -> Float[Tensor, "B M C"]:
        """Returns the features from what `lower` returned."""
        raise NotImplementedError

    def upper_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that `upper` trains."""
        raise NotImplementedError

    def pretrained(self) -> nn.Module:
        """Returns the part that starts from published weights (its own learning rate)."""
        raise NotImplementedError

    def fold_norms(self) -> None:
        """Merges norms whose statistics are frozen into the weights before them, if it has any.

        In place, for inference alone: afterwards only `features` and `embed` are right.
        """


class TextTower(nn.Module):
    """Tokens to token embeddings of the image tower's width.

    `words` and `attend` are its two halves, for classifiers that put pieces of an image between the
    words. A tower whose layers read words only has nothing to attend with: its words are read. One
    that is not read is `absent`.
    """

    absent: ClassVar[bool] = False
    width: int

    @property
    def word_width(self) -> int:
        """The width of `words`."""
        return self.width

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        """Returns the token embeddings; the last unmasked token is the end of text."""
        raise NotImplementedError

    def words(
        self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L W"]:
        """Returns what stands for each token in a sequence shared with an image."""
        # A class token behind them stands for the text alone.
        return self(token_ids, token_mask).embeds[:, : token_ids.shape[1]]

    def attend(
        self,
        embeds: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
        positions: Int[Tensor, " N"],
    ) -> Float[Tensor, "B N D"]:
        """Returns the shared sequence after the tower's own layers."""
        return embeds

    def pretrained(self) -> nn.Module | None:
        """Returns the part that starts from published weights, None if there is none."""
        raise NotImplementedError


def end_of_text(token_mask: Bool[Tensor, "B L"]) -> Int[Tensor, " B"]:
    """Returns the position of each row's last token, the end-of-text token."""
    return token_mask.sum(dim=1).sub(1).clamp(min=0)


class ByAttribute(nn.ModuleDict):
    """A module for each attribute, which may be called `type`, as a method of modules is."""

    def __setitem__(self, attribute: str, module: nn.Module) -> None:
        self._modules[attribute] = module


def build_heads(width: int, config: ClassifierConfig) -> ByAttribute:
    """Returns for each attribute the MLP from an embedding to logits, alike in all classifiers."""
    return ByAttribute(
        {
            attribute: nn.Sequential(
                nn.Linear(width, width),
                nn.GELU(),
                nn.Dropout(config.dropout),
                nn.Linear(width, len(labels)),
            )
            for attribute, labels in config.attributes.items()
        }
    )


class Classifier(nn.Module):
    """Image and text of a batch of products to logits per attribute.

    A subclass's docstring starts with the line that a list of classifiers shows. `paper` says where
    it is described, `starts_from` which published weights can fill it, `trained_by` which losses
    can train it.
    """

    paper: ClassVar[str]
    starts_from: ClassVar[tuple[str, ...]] = (
        "EfficientNet-Lite0",
        "Hugging Face CLIP",
        "Hugging Face vision and text models",
        "open_clip CLIP or CoCa",
    )
    trained_by: ClassVar[frozenset[str]] = frozenset({"contrastive", "multitask"})
    image_tower: ImageTower
    text_tower: TextTower
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        """Makes random weights for a tokenizer of `vocabulary` tokens; subclasses add their own."""
        super().__init__()
        self.config = config
        # On the device once: made from numbers for every batch, they would be waited for.
        for name, values in (("pixel_mean", config.image.mean), ("pixel_std", config.image.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        """Takes what a classifier must know of the tokenizer; called once before training."""

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        """Returns logits, modality weights and pooled embeddings."""
        raise NotImplementedError

    def encode(self, inputs: ModelInputs) -> tuple[Encoded, Encoded]:
        """Returns what the towers make of the batch: image and text.

        Raises:
            ValueError: the batch holds neither pixels nor image features.
        """
        text = self.text_tower(inputs.token_ids, inputs.token_mask)
        return self.encode_image(inputs), text

    def encode_image(self, inputs: ModelInputs) -> Encoded:
        """Returns what the image tower makes of the batch.

        Raises:
            ValueError: the batch holds neither pixels nor image features.
        """
        tower = self.image_tower
        if inputs.image_features is not None:
            features = inputs.image_features
        elif inputs.image_lower is not None:
            features = tower.upper(inputs.image_lower)
        elif inputs.pixel_values is not None:
            features = tower.features(self.normalise_pixels(inputs.pixel_values))
        else:
            raise ValueError("a batch needs pixel_values, image_lower or image_features")
        return tower.embed(features)

    def pretrained(self) -> list[nn.Module]:
        """Returns the parts that start from published weights (their own learning rate)."""
        towers = (self.image_tower.pretrained(), self.text_tower.pretrained())
        return [tower for tower in towers if tower is not None]

    def normalise_pixels(self, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Returns pixels scaled to [0, 1], less the mean, over the standard deviation."""
        scaled = pixels.contiguous(memory_format=torch.channels_last).float().div_(255)
        return scaled.sub_(self.pixel_mean).div_(self.pixel_std)
