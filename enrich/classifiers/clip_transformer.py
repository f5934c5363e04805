"""All of CLIP's tokens through one transformer that is read at a token of its own."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import JOINT, ModelOutput, Tokens, Vectors
from enrich.classifiers.pooled import PooledPair
from enrich.classifiers.transformer import build_transformer, joint_sequence, padding_in


class ClipTransformer(PooledPair):
    """Both towers' tokens and one CLS through a transformer, then one MLP an attribute on CLS.

    CMA-CLIP without its modality-wise attention is close to it, but reads the towers' own pooled
    tokens. The tokens of a missing modality are attended to by none.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        width = self.image_tower.width
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.transformer = build_transformer(
            width, config.joint_layers, config.joint_heads, config.dropout
        )

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(JOINT), config)

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

    def _answer(self, vectors: Vectors) -> ModelOutput:
        return ModelOutput(self.heads(vectors.named[JOINT]), vectors)
