"""CMA-CLIP, with attention over the joint sequence, then over modalities.

Liu et al., "CMA-CLIP: Cross-Modality Attention CLIP for Image-Text Classification", arXiv
2112.03562, figure 1. The paper leaves depth, width and heads of the transformer open. They are in
`ClassifierConfig`, with the switches for the two ablations.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import (
    IMAGE,
    ByAttribute,
    ModelOutput,
    Tokens,
    Vectors,
    build_heads,
    joint_sequence,
)
from enrich.classifiers.pooled import PooledPair
from enrich.classifiers.towers import build_transformer, padding_in


class SequenceWiseAttention(nn.Module):
    """A transformer over the joint sequence of text tokens and image patches."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.transformer = build_transformer(width, layers, heads, dropout)

    def forward(
        self,
        embeds: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "B N"],
        read_at: Int[Tensor, "B K"],
    ) -> Float[Tensor, "B K D"]:
        """Return the tokens at `read_at` after attention to tokens that are not masked.

        The last layer is computed for these tokens alone, because the others are not read.
        """
        layers: list[Any] = list(self.transformer.layers)
        *lower, last = layers
        padding = padding_in(mask)
        for layer in lower:
            embeds = layer(embeds, src_key_padding_mask=padding)
        rows = torch.arange(len(embeds), device=embeds.device).unsqueeze(1)
        read, normed = embeds[rows, read_at], last.norm1(embeds)
        attended, _ = last.self_attn(
            normed[rows, read_at], normed, normed, key_padding_mask=padding, need_weights=False
        )
        read = read + last.dropout1(attended)
        hidden = last.dropout(last.activation(last.linear1(last.norm2(read))))
        read = read + last.dropout2(last.linear2(hidden))
        out: Tensor = self.transformer.get_submodule("norm")(read)
        return out


class ModalityWiseAttention(nn.Module):
    """Keyless attention over the two modalities, for one attribute.

    e_I = w_I . I' + bias, e_T = w_T . T', lambda = softmax(e_I, e_T), and the output is lambda I' +
    (1 - lambda) T'. The score of a missing modality is -inf, so that the weights of a row still sum
    to 1.

    The modality bias, `trust` in the weights, is fitted after training to products that training
    has not seen. A tower reads the products of its training too well, so an attention that was
    trained on them gives it too much weight. The disagreement penalty, `doubt` in the weights, is
    fitted then too. It lowers the confidence of answers that rest on a text which the picture
    contradicts.
    """

    trust: Tensor
    doubt: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.register_buffer("trust", torch.zeros(()))
        self.register_buffer("doubt", torch.zeros(()))

    def forward(
        self,
        image: Float[Tensor, "B D"],
        text: Float[Tensor, "B D"],
        has_image: Bool[Tensor, " B"],
        has_text: Bool[Tensor, " B"],
        shift: float = 0.0,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return the weighted sum and the image's weight, in [0, 1].

        `shift` adds to the modality bias.
        """
        both = torch.stack([image, text], dim=1)
        scores = (both * self.score).sum(-1).float()
        scores = torch.stack([scores[:, 0] + self.trust + shift, scores[:, 1]], dim=1)
        available = torch.stack([has_image, has_text], dim=1)
        weights = scores.masked_fill(~available, float("-inf")).softmax(dim=1)
        return (weights.to(both.dtype).unsqueeze(-1) * both).sum(1), weights[:, 0]


# I'_CLS and T'_CLS: what stands for image and text after joint attention.
IMAGE_CLS, TEXT_CLS = "image_cls", "text_cls"


class CmaClip(PooledPair):
    """Attention over both towers' joint sequence, then over modalities by attribute.

    Towers and transformer are shared; each attribute has its own modality-wise attention and MLP.
    The paper does not say what replaces an attention in an ablation. Here the towers' pooled
    embeddings replace the sequence-wise one, and the mean of the present modalities the
    modality-wise one, so that the heads stay the same. Modality bias and disagreement penalty,
    which are fitted after training, are not the paper's either.
    """

    paper = "CMA-CLIP: Liu et al. 2021, arXiv 2112.03562"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        if config.sequence_wise:
            self.sequence_wise = SequenceWiseAttention(
                self.image_tower.width, config.joint_layers, config.joint_heads, config.dropout
            )

    def build_answering(self, config: ClassifierConfig) -> None:
        width = config.width_of(IMAGE)
        if config.modality_wise:
            self.modality_wise = ByAttribute(
                {a: ModalityWiseAttention(width) for a in config.attributes}
            )
        self.heads = build_heads(width, config)
        self.matching = nn.Linear(2 * width, 1) if config.matching else None

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        pooled = super().vector_shapes(config)
        if not config.sequence_wise:
            return pooled
        width = (self.image_tower.width,)
        return {IMAGE_CLS: width, TEXT_CLS: width, **pooled}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        pooled = super().join(tokens, has_image, has_text)
        if not self.config.sequence_wise:
            return pooled
        read_at = torch.stack(
            [tokens.text.embeds.shape[1] + tokens.image.pooled_at, tokens.text.pooled_at], dim=1
        )
        read = self.sequence_wise(*joint_sequence(tokens, has_image, has_text), read_at)
        has = torch.stack([has_image, has_text], dim=1).unsqueeze(2)
        image_cls, text_cls = read.masked_fill(~has, 0).unbind(1)
        return pooled.with_first(TEXT_CLS, text_cls).with_first(IMAGE_CLS, image_cls)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        logits: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        for attribute in self.heads:
            logits[attribute], image_weight = self.answer_attribute(attribute, vectors)
            if image_weight is not None:
                weights[attribute] = image_weight
        matching = None
        if self.matching is not None:
            matching = self.matching(torch.cat(cls_of(vectors), dim=1)).squeeze(1)
        return ModelOutput(logits, vectors, weights, matching)

    def answer_attribute(
        self, attribute: str, vectors: Vectors, shift: float = 0.0
    ) -> tuple[Float[Tensor, "B _"], Float[Tensor, " B"] | None]:
        """Return an attribute's logits, and the image's weight in [0, 1], if any.

        `shift` is added to the modality bias, in favour of the image.
        """
        image_cls, text_cls = cls_of(vectors)
        has_image, has_text = vectors.has_image, vectors.has_text
        if not self.config.modality_wise:
            mean = _mean(image_cls, text_cls, has_image, has_text)
            return self.heads[attribute](mean).float(), None
        mixed, image_weight = self.modality_wise[attribute](
            image_cls, text_cls, has_image, has_text, shift
        )
        logits = self.heads[attribute](mixed).float()
        if not self.training:
            logits = logits * self._certainty(attribute, vectors, image_weight).unsqueeze(1)
        return logits, image_weight

    def _certainty(
        self, attribute: str, vectors: Vectors, image_weight: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the certainty in (0, 1], lower where image and text disagree.

        It is exp(-penalty * (1 - image_weight) * d). d is the Jensen-Shannon divergence (Lin 1991),
        in bits, of the answers from the image alone and from the text alone.
        """
        alone = self.heads[attribute](torch.cat(cls_of(vectors))).float()
        apart = jensen_shannon(*alone.softmax(1).chunk(2))
        apart = apart.masked_fill(~(vectors.has_image & vectors.has_text), 0)
        penalty = self.modality_wise[attribute].get_buffer("doubt")
        return (-penalty * (1 - image_weight) * apart).exp()

    def shift_modality_bias(self, attribute: str, shift: float) -> None:
        """Add to an attribute's modality bias, which favours the image."""
        self.modality_wise[attribute].get_buffer("trust").add_(shift)

    def set_disagreement_penalty(self, attribute: str, penalty: float) -> None:
        """Set an attribute's disagreement penalty, 0 or above."""
        self.modality_wise[attribute].get_buffer("doubt").fill_(penalty)

    @staticmethod
    def name_of_bias(attribute: str) -> str:
        """Return the name that an attribute's modality bias has in the weights."""
        return f"modality_wise.{attribute}.trust"


def cls_of(vectors: Vectors) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Return I'_CLS and T'_CLS, or the pooled embeddings without that attention."""
    image_cls = vectors.named.get(IMAGE_CLS, vectors.image)
    return image_cls, vectors.named.get(TEXT_CLS, vectors.text)


def jensen_shannon(one: Float[Tensor, "B C"], other: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
    """Return the divergence of two answers in bits, in [0, 1]."""
    between = (one + other) / 2
    # torch.special.entr is compiled on the spot on a GPU, by each process.
    entropies = [-torch.xlogy(answer, answer).sum(1) for answer in (between, one, other)]
    nats = entropies[0] - (entropies[1] + entropies[2]) / 2
    return (nats / math.log(2)).clamp(0, 1)


def _mean(
    image: Float[Tensor, "B D"],
    text: Float[Tensor, "B D"],
    has_image: Bool[Tensor, " B"],
    has_text: Bool[Tensor, " B"],
) -> Float[Tensor, "B D"]:
    """Return the mean of the modalities that a row has."""
    present = torch.stack([has_image, has_text], dim=1).unsqueeze(2)
    both = torch.stack([image, text], dim=1).masked_fill(~present, 0)
    return both.sum(1) / present.sum(1)
