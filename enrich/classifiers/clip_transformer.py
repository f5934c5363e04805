"""All of CLIP's tokens through one transformer that is read at a token of its own."""

import torch
from torch import nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.towers import build_towers
from enrich.classifiers.transformer import build_transformer, joint_sequence, padding_in


class ClipTransformer(Classifier):
    """Both towers' tokens and one CLS through a transformer, then one MLP an attribute on CLS.

    CMA-CLIP without its modality-wise attention is close to it, but reads the towers' own pooled
    tokens. The tokens of a missing modality are attended to by none.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        width = self.image_tower.width
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.transformer = build_transformer(
            width, config.joint_layers, config.joint_heads, config.dropout
        )
        self.heads = build_heads(width, config)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        image, text = self.encode(inputs)
        embeds, mask = joint_sequence(image, text, inputs)
        embeds = torch.cat([self.cls.expand(len(embeds), 1, -1), embeds], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        read = self.transformer(embeds, src_key_padding_mask=padding_in(mask))[:, 0]
        return ModelOutput(self.heads(read), image.pooled, text.pooled)
