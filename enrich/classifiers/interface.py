"""The interface of all classifiers.

The module knows no particular classifier.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from enrich.classifiers.config import ANSWERING_MODULES, ClassifierConfig
from enrich.classifiers.towers import Encoded, ImageTower, TextEncoder, TextTower, build_towers

# The vectors that nearly every classifier has: both towers' pooled embeddings.
IMAGE, TEXT = "image_pooled", "text_pooled"
# The one vector that stands for both modalities together, where a classifier answers from that.
JOINT = "joint"
_LARGEST_HALF = torch.finfo(torch.float16).max


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """One batch; a row has an image, a text, or both.

    A missing modality may hold any values. `pixel_values` are raw uint8, normalised on the device.
    Training on a frozen image tower passes the cached `image_features` instead, and training of its
    upper stages the output of the lower ones, `image_lower`. `text_features` are cached tokens of a
    frozen text tower; `text_pooled_at` is the place of the token that stands for the whole text.
    """

    token_ids: Int[Tensor, "B L"]
    token_mask: Bool[Tensor, "B L"]
    has_image: Bool[Tensor, " B"]
    has_text: Bool[Tensor, " B"]
    pixel_values: UInt8[Tensor, "B 3 H W"] | None = None
    image_features: Float[Tensor, "B M C"] | None = None
    image_lower: Float[Tensor, "B N"] | None = None
    text_features: Float[Tensor, "B K D"] | None = None
    text_pooled_at: Int[Tensor, " B"] | None = None

    def to(self, device: torch.device) -> "ModelInputs":
        """Return the batch on `device`; to a GPU it is copied without waiting."""
        return self._map(lambda tensor: _copy(tensor, device))

    def rows(self, start: int, stop: int) -> "ModelInputs":
        """Return the rows from `start` to before `stop`."""
        return self._map(lambda tensor: tensor[start:stop])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "ModelInputs":
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: change(t) for n, t in given.items() if t is not None})


@dataclass(frozen=True, slots=True)
class Tokens:
    """Both towers' tokens of a batch, before joint attention.

    `token_mask` is the mask of the text's own tokens; a tower may add a class token behind them.
    """

    image: Encoded
    text: Encoded
    token_mask: Bool[Tensor, "B L"]

    def images_alone(self, has_image: Bool[Tensor, " B"]) -> "Tokens":
        """Return the rows that have an image, each with one text token to be masked."""
        image, text = (
            Encoded(one.embeds[has_image], one.mask[has_image], one.pooled_at[has_image])
            for one in (self.image, self.text)
        )
        first = torch.zeros_like(text.pooled_at)
        text = Encoded(text.embeds[:, :1], text.mask[:, :1], first)
        return Tokens(image, text, self.token_mask[has_image, :1])


@dataclass(frozen=True, slots=True)
class Vectors:
    """Named embeddings that a classifier answers from, with each row's modalities.

    `named` has the names of `ClassifierConfig.vectors` in their order, each (B, *shape). Where a
    row lacks a modality, its embedding is zero.
    """

    named: dict[str, Float[Tensor, "B ..."]]
    has_image: Bool[Tensor, " B"]
    has_text: Bool[Tensor, " B"]

    @property
    def image(self) -> Float[Tensor, "B D"]:
        """The image tower's pooled embedding; zeros for a classifier without images."""
        return self._pooled(IMAGE, TEXT)

    @property
    def text(self) -> Float[Tensor, "B D"]:
        """The text tower's pooled embedding; zeros for a classifier without texts."""
        return self._pooled(TEXT, IMAGE)

    def _pooled(self, name: str, other: str) -> Float[Tensor, "B D"]:
        return self.named[name] if name in self.named else torch.zeros_like(self.named[other])

    def with_first(self, name: str, embeds: Float[Tensor, "B ..."]) -> "Vectors":
        """Return the same vectors with one more in front."""
        return replace(self, named={name: embeds, **self.named})

    def pack(self) -> Float[Tensor, "B N"]:
        """Return the numbers as they are stored, float16, one name after the other.

        Numbers beyond float16's range become its largest ones, so that no answer is NaN.
        """
        flat = torch.cat([one.float().flatten(1) for one in self.named.values()], dim=1)
        return flat.clamp(-_LARGEST_HALF, _LARGEST_HALF).half()

    @staticmethod
    def unpack(
        packed: Float[Tensor, "B N"],
        shapes: Mapping[str, Sequence[int]],
        has_image: Bool[Tensor, " B"],
        has_text: Bool[Tensor, " B"],
    ) -> "Vectors":
        """Return packed numbers as vectors in float32."""
        parts = packed.float().split([math.prod(shape) for shape in shapes.values()], dim=1)
        named = {
            name: part.unflatten(1, tuple(shape))
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }
        return Vectors(named, has_image, has_text)

    def as_stored(self) -> "Vectors":
        """Return the vectors in float32 after rounding to float16."""
        shapes = {name: one.shape[1:] for name, one in self.named.items()}
        return Vectors.unpack(self.pack(), shapes, self.has_image, self.has_text)

    def in_full_precision(self) -> "Vectors":
        """Return the same vectors in float32."""
        return self._map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)

    def to(self, device: torch.device) -> "Vectors":
        """Return the same on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def take(self, rows: Int[Tensor, " N"] | Bool[Tensor, " B"]) -> "Vectors":
        """Return these rows, in this order."""
        return self._map(lambda tensor: tensor[rows])

    @staticmethod
    def join(parts: "Sequence[Vectors]") -> "Vectors":
        """Return the rows of all parts, in order; there is at least one part."""
        return Vectors(
            {name: torch.cat([one.named[name] for one in parts]) for name in parts[0].named},
            torch.cat([one.has_image for one in parts]),
            torch.cat([one.has_text for one in parts]),
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Vectors":
        named = {name: change(one) for name, one in self.named.items()}
        return Vectors(named, change(self.has_image), change(self.has_text))


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Logits of one batch, and the vectors that they were computed from.

    `image_weight` is the share of the image in each attribute's answer, in [0, 1], and empty for a
    classifier that does not weigh its modalities. `matching` scores the text as the image's own,
    for classifiers that learn it.
    """

    logits: dict[str, Float[Tensor, "B _"]]
    vectors: Vectors
    image_weight: dict[str, Float[Tensor, " B"]] = field(default_factory=dict)
    matching: Float[Tensor, " B"] | None = None


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Classifier(nn.Module):
    """Image and text of a batch of products to logits per attribute, in three steps.

    `towers` computes tokens of both modalities, `join` vectors of the tokens, and `answer` logits
    of the vectors. `encode` is the first two steps, `forward` all three. Vectors can be stored,
    because `answer` needs no weights of the encoder.

    The first line of a subclass's docstring stands in the list of classifiers.

    Attributes:
        paper: where the classifier is described.
        trained_by: losses that can train it.
        contrasts_towers: contrast compares the towers' own embeddings.
        reads_text_features: of a text only the text tower's outputs are read.
        answers_from: the vector that heads read by default.
        config: the configuration without labels that were added after training.
    """

    paper: ClassVar[str]
    trained_by: ClassVar[frozenset[str]] = frozenset({"contrastive", "multitask"})
    contrasts_towers: ClassVar[bool] = True
    answers_from: ClassVar[str] = JOINT
    reads_text_features: ClassVar[bool] = True
    image_tower: ImageTower
    text_tower: TextTower
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ClassifierConfig, vocabulary: int | None) -> None:
        """Create random weights for a tokenizer of `vocabulary` tokens.

        Without a vocabulary the encoder is left out. Then `config` must have the vectors' shapes,
        and only `answer` may be called.
        """
        super().__init__()
        # Buffers, to be on the device once: a copy for every batch would have to be waited for.
        for name, values in (("pixel_mean", config.image.mean), ("pixel_std", config.image.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self._added = config.added
        config = config.without_added()
        if vocabulary is not None:
            self.build_encoder(config, vocabulary)
            config = config.model_copy(update={"vectors": self.vector_shapes(config)})
        self.config = config
        self.build_answering(config)

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        """Create the towers and the modules of `join`."""
        self.image_tower, self.text_tower = build_towers(config, vocabulary)

    def build_answering(self, config: ClassifierConfig) -> None:
        """Create the modules of `answer`; their names are in `ANSWERING_MODULES`."""
        self.heads = build_heads(config.width_of(self.answers_from), config)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of one product's vectors, in the order of `join`."""
        raise NotImplementedError

    def encoder_modules(self) -> list[nn.Module]:
        """Return the modules that compute vectors."""
        return [part for name, part in self.named_children() if name not in ANSWERING_MODULES]

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.pixel_mean.device

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        """Take what a classifier must know of the tokenizer; called once before training."""

    def refresh(self) -> None:
        """Update what answering modules keep of the encoder's weights.

        It is called before answers are measured and before weights are saved.
        """

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        """Return logits and vectors; outside of training the vectors are rounded."""
        vectors = self.encode(inputs)
        return self.answer(vectors if self.training else vectors.as_stored())

    def encode(self, inputs: ModelInputs) -> Vectors:
        """Return the vectors of a batch."""
        return self.join(self.towers(inputs), inputs.has_image, inputs.has_text)

    def towers(self, inputs: ModelInputs) -> Tokens:
        """Return both towers' tokens."""
        return Tokens(self.encode_image(inputs), self.encode_text(inputs), inputs.token_mask)

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        """Return the vectors of rows, each computed from these modalities alone.

        A row may be joined without a modality that it has.
        """
        raise NotImplementedError

    def contrasted(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        """Return vectors whose `image` and `text` a contrastive phase compares."""
        return self.join(tokens, has_image, has_text)

    def caption_loss(self, tokens: Tokens, inputs: ModelInputs) -> Float[Tensor, ""] | None:
        """Return the mean cross-entropy of next words; None without a captioner."""
        return None

    def answer(self, vectors: Vectors) -> ModelOutput:
        """Return logits and modality weights, computed in float32.

        Logits of added labels are 0, because a correction answers them.
        """
        device = vectors.has_text.device
        with torch.autocast(device.type, enabled=False):
            output = self._answer(vectors.in_full_precision())
        for attribute in self._added:
            none = torch.zeros(len(vectors.has_text), 0, device=device)
            output.logits[attribute] = self.widen(attribute, output.logits.get(attribute, none))
        return output

    def widen(self, attribute: str, logits: Float[Tensor, "B _"]) -> Float[Tensor, "B _"]:
        """Return a head's logits with those of added labels, which are 0."""
        return F.pad(logits, (0, self._added.get(attribute, 0)))

    def _answer(self, vectors: Vectors) -> ModelOutput:
        return ModelOutput(self.heads(vectors.named[self.answers_from]), vectors)

    def encode_text(self, inputs: ModelInputs) -> Encoded:
        """Return what the text tower makes of the batch."""
        if inputs.text_features is None:
            read: Encoded = self.text_tower(inputs.token_ids, inputs.token_mask)
            return read
        assert inputs.text_pooled_at is not None
        behind = inputs.text_features.shape[1] - inputs.token_mask.shape[1]
        mask = F.pad(inputs.token_mask, (0, behind), value=True)
        return Encoded(inputs.text_features, mask, inputs.text_pooled_at)

    def encode_image(self, inputs: ModelInputs) -> Encoded:
        """Return the image tower's tokens of the batch.

        Raises ValueError if it holds no `pixel_values`, `image_lower` or `image_features`.
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
        """Return the image tower's features; on a CPU zeros for missing images."""
        read = self.image_tower.features
        # All of them on a GPU, which would have to be waited for to know how many images there are,
        # and in training, where norms want the whole batch.
        if self.training or pixels.device.type != "cpu" or bool(has_image.all()):
            return read(self.normalise_pixels(pixels))
        # One row at least: not every tower takes a batch of none.
        rows = has_image.nonzero()[:, 0] if has_image.any() else torch.zeros(1, dtype=torch.long)
        seen = read(self.normalise_pixels(pixels[rows]))
        features = seen.new_zeros(len(pixels), *seen.shape[1:])
        features[rows] = seen
        return features

    def pretrained(self) -> list[nn.Module]:
        """Return the parts that start from published weights (their own learning rate)."""
        towers = (self.image_tower.pretrained(), self.text_tower.pretrained())
        return [tower for tower in towers if tower is not None]

    def normalise_pixels(self, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Return pixels scaled to [0, 1], less the mean, over the standard deviation."""
        scaled = pixels.contiguous(memory_format=torch.channels_last).float().div_(255)
        return scaled.sub_(self.pixel_mean).div_(self.pixel_std)


class ByAttribute(nn.ModuleDict):
    """A module for each attribute, also for names that nn.ModuleDict refuses."""

    def __setitem__(self, attribute: str, module: nn.Module) -> None:
        self._modules[attribute] = module


class Heads(ByAttribute):
    """An MLP an attribute."""

    def forward(self, embeds: Float[Tensor, "B D"]) -> dict[str, Float[Tensor, "B _"]]:
        """Return each attribute's logits in float32; all read the same embedding."""
        return {attribute: head(embeds).float() for attribute, head in self.items()}


def build_heads(width: int, config: ClassifierConfig) -> Heads:
    """Return the heads for embeddings of `width`, with random weights."""
    return Heads(
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


def joint_sequence(
    tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
    """Return the tokens of both towers, text first, and which of them count in a row."""
    image, text = tokens.image, tokens.text
    mask = [text.mask & has_text.unsqueeze(1), image.mask & has_image.unsqueeze(1)]
    return torch.cat([text.embeds, image.embeds], dim=1), torch.cat(mask, dim=1)
