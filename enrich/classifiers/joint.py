"""Classifiers whose own layers read all tokens of both towers.

A transformer over CLIP's tokens, and Perceiver IO: Jaegle et al., "Perceiver IO: A General
Architecture for Structured Inputs & Outputs", arXiv 2107.14795, with the blocks that transformers
ships.
"""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import (
    JOINT,
    ModelOutput,
    Tokens,
    Vectors,
    build_heads,
    joint_sequence,
)
from enrich.classifiers.pooled import PooledPair
from enrich.classifiers.towers import build_transformer, padding_in, require_divisor


class ClipTransformer(PooledPair):
    """Both towers' tokens and a CLS through a transformer, then MLPs on CLS.

    It is close to CMA-CLIP without modality-wise attention, which reads the towers' own pooled
    tokens instead. Tokens of a missing modality are masked.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        width = self.image_tower.width
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.transformer = build_transformer(
            width, config.joint_layers, config.joint_heads, config.dropout
        )

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {JOINT: (self.image_tower.width,), **super().vector_shapes(config)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        embeds, mask = joint_sequence(tokens, has_image, has_text)
        embeds = torch.cat([self.cls.expand(len(embeds), 1, -1), embeds], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        read = self.transformer(embeds, src_key_padding_mask=padding_in(mask))[:, 0]
        return super().join(tokens, has_image, has_text).with_first(JOINT, read)


LATENTS = 32
# One vector an attribute: a classifier of other attributes is another encoder.
QUERIES = "queries"
# Channels that tell a token's modality; both towers have the same width, so only these differ.
MODALITY_CHANNELS = 16


class PerceiverIo(PooledPair):
    """Latents that attend to all tokens, then one output query an attribute.

    Tokens of each tower are padded with trainable channels of their modality, in one sequence. The
    cost grows with tokens times latents, not with the square of the tokens.

    It starts from published towers, but not from a published Perceiver. Those read pixels or bytes,
    and their layers belong to the cross-attention that fills the latents. Over the tokens of a
    tower that attention has to be new, and behind it their layers would be no better than random
    ones.
    """

    paper = "Perceiver IO: Jaegle et al. 2021, arXiv 2107.14795"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        width = self.image_tower.width
        self.image_channels = nn.Parameter(torch.randn(MODALITY_CHANNELS) * 0.02)
        self.text_channels = nn.Parameter(torch.randn(MODALITY_CHANNELS) * 0.02)
        self.perceiver = _build_perceiver(width, len(config.attributes), config)
        self.norm = nn.LayerNorm(width)

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(QUERIES), config)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        queries = (len(config.attributes), self.image_tower.width)
        return {QUERIES: queries, **super().vector_shapes(config)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        embeds, mask = joint_sequence(tokens, has_image, has_text)
        # One row of channels a token, text first as in the sequence.
        channels = torch.cat(
            [
                self.text_channels.expand(tokens.text.embeds.shape[1], -1),
                self.image_channels.expand(tokens.image.embeds.shape[1], -1),
            ]
        )
        padded = torch.cat([embeds, channels.expand(len(embeds), -1, -1)], dim=2)
        read = self.norm(self.perceiver(inputs=padded, attention_mask=mask.long()).logits)
        return super().join(tokens, has_image, has_text).with_first(QUERIES, read)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        read = vectors.named[QUERIES]
        logits = {a: head(read[:, at]).float() for at, (a, head) in enumerate(self.heads.items())}
        return ModelOutput(logits, vectors)


def _build_perceiver(width: int, queries: int, config: ClassifierConfig) -> nn.Module:
    """Return a Perceiver whose `logits` are embeddings, (B, queries, width)."""
    # Takes seconds to load, which workers with another classifier do without.
    from transformers import PerceiverConfig, PerceiverModel
    from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder

    require_divisor(width, config.joint_heads)
    sizes = PerceiverConfig(
        num_latents=LATENTS,
        d_latents=width,
        d_model=width + MODALITY_CHANNELS,
        num_blocks=1,
        num_self_attends_per_block=config.joint_layers,
        num_self_attention_heads=config.joint_heads,
        num_cross_attention_heads=config.joint_heads,
        # The heads divide the latents' width, but not that of the padded tokens.
        cross_attention_shape_for_attention="q",
        attention_probs_dropout_prob=config.dropout,
        # The default, 0.02, is for widths above 1,000; small latents would start all but silent.
        initializer_range=width**-0.5,
    )
    decoder = PerceiverBasicDecoder(
        sizes,
        output_num_channels=width,
        position_encoding_type="trainable",
        output_index_dims=queries,
        num_channels=width,
        num_heads=config.joint_heads,
        use_query_residual=True,
        final_project=False,
        trainable_position_encoding_kwargs={"num_channels": width, "index_dims": queries},
    )
    return PerceiverModel(sizes, decoder=decoder)
