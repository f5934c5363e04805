"""Classifiers of one tower, to measure what pictures or texts say alone."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import (
    IMAGE,
    TEXT,
    Classifier,
    ModelOutput,
    Tokens,
    Vectors,
)
from enrich.classifiers.towers import Encoded, ImageTower, TextTower, build_towers


class NoImageTower(ImageTower):
    """The place of an image tower in a text classifier, one empty token."""

    absent = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        return pixels.new_zeros(len(pixels), 1, 1)

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        return _empty(features, self.width)

    def lower(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        return pixels.new_zeros(len(pixels), 1)

    def upper(self, lower: Float[Tensor, "B N"]) -> Float[Tensor, "B M C"]:
        return lower.new_zeros(len(lower), 1, 1)

    def upper_parameters(self) -> list[nn.Parameter]:
        return []

    def pretrained(self) -> nn.Module:
        return self


class NoTextTower(TextTower):
    """The place of a text tower in an image classifier, one empty token."""

    absent = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        return _empty(token_ids, self.width)

    def pretrained(self) -> None:
        return None


def _empty(like: Tensor, width: int) -> Encoded:
    embeds = torch.zeros(len(like), 1, width, device=like.device)
    mask = torch.zeros(len(like), 1, dtype=torch.bool, device=like.device)
    return Encoded(embeds, mask, torch.zeros(len(like), dtype=torch.long, device=like.device))


class OneModality(Classifier):
    """A tower's pooled embedding, then one MLP an attribute.

    A learnt embedding replaces a missing modality; from it the heads give about the labels' shares
    in training.
    """

    trained_by = frozenset({"multitask"})

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {self.answers_from: (self.image_tower.width,)}


class ImageOnly(OneModality):
    """The image tower's pooled embedding, then one MLP an attribute.

    The image's weight is 1, and 0 without an image.
    """

    answers_from = IMAGE
    paper = "ViT: Dosovitskiy et al. 2020, arXiv 2010.11929"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        self.image_tower, _ = build_towers(config, vocabulary)
        self.text_tower = NoTextTower(self.image_tower.width)
        self.no_image = nn.Parameter(torch.zeros(self.image_tower.width))

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        read = torch.where(has_image.unsqueeze(1), tokens.image.pooled, self.no_image)
        return Vectors({IMAGE: read}, has_image, has_text)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        output = super()._answer(vectors)
        return replace(output, image_weight=dict.fromkeys(output.logits, vectors.has_image.float()))


class TextOnly(OneModality):
    """The text tower's pooled embedding, then one MLP an attribute.

    The image's weight is always 0.
    """

    answers_from = TEXT
    paper = "BERT: Devlin et al. 2018, arXiv 1810.04805"
    starts_from = (
        "Hugging Face CLIP or SigLIP",
        "Hugging Face vision and text models",
        "any open_clip model",
    )

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        _, self.text_tower = build_towers(config, vocabulary)
        self.image_tower = NoImageTower(self.text_tower.width)
        self.no_text = nn.Parameter(torch.zeros(self.text_tower.width))

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        read = torch.where(has_text.unsqueeze(1), tokens.text.pooled, self.no_text)
        return Vectors({TEXT: read}, has_image, has_text)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        output = super()._answer(vectors)
        weight = torch.zeros(len(vectors.text), device=vectors.text.device)
        return replace(output, image_weight=dict.fromkeys(output.logits, weight))
