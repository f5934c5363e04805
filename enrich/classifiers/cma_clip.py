"""CMA-CLIP: two towers, attention over their joint sequence, then over the two modalities.

Liu et al., "CMA-CLIP: Cross-Modality Attention CLIP for Image-Text Classification",
arXiv 2112.03562, figure 1. What the paper leaves open (depth and width of the transformer, heads)
is in `ClassifierConfig`.
"""

import torch
from torch import nn

from enrich.classifiers.attention import ModalityWiseAttention, SequenceWiseAttention
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import (
    Classifier,
    ModelInputs,
    ModelOutput,
    build_heads,
    take,
)
from enrich.classifiers.towers import build_towers


class CmaClip(Classifier):
    """Shared towers and transformer; one modality-wise attention and one MLP an attribute."""

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        width = self.image_tower.width
        self.sequence_wise = SequenceWiseAttention(
            width, config.joint_layers, config.joint_heads, config.dropout
        )
        shared = config.scoring == "shared"
        self.modality_wise = nn.ModuleDict(
            {a: ModalityWiseAttention(width, shared=shared) for a in config.attributes}
        )
        self.heads = build_heads(width, config)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        image, text = self.encode(inputs)
        text_first = torch.cat([text.embeds, image.embeds], dim=1)
        mask = torch.cat(
            [
                text.mask & inputs.has_text.unsqueeze(1),
                image.mask & inputs.has_image.unsqueeze(1),
            ],
            dim=1,
        )
        joint = self.sequence_wise(text_first, mask)
        text_cls = take(joint, text.pooled_at)
        image_cls = take(joint, text.embeds.shape[1] + image.pooled_at)

        logits, weights = {}, []
        for attribute, head in self.heads.items():
            mixed, image_weight = self.modality_wise[attribute](
                image_cls, text_cls, inputs.has_image, inputs.has_text
            )
            logits[attribute] = head(mixed).float()
            weights.append(image_weight)
        return ModelOutput(logits, image.pooled, text.pooled, torch.stack(weights, dim=1))
