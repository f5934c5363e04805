"""CMA-CLIP: two towers, attention over their joint sequence, then over the two modalities.

Liu et al., "CMA-CLIP: Cross-Modality Attention CLIP for Image-Text Classification",
arXiv 2112.03562, figure 1. What the paper leaves open (depth and width of the transformer, heads)
is in `ClassifierConfig`.
"""

import torch
from torch import nn

from enrich.classifiers.attention import ModalityWiseAttention, SequenceWiseAttention
from enrich.classifiers.clip_towers import build_clip_towers
from enrich.classifiers.config import ClassifierConfig, SmallTowers
from enrich.classifiers.interface import (
    Classifier,
    ImageTower,
    ModelInputs,
    ModelOutput,
    TextTower,
    take,
)
from enrich.classifiers.small_towers import EfficientNetTower, SmallTextTower


class CmaClip(Classifier):
    """Shared towers and transformer; one modality-wise attention and one MLP an attribute."""

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.image_tower, self.text_tower = _build_towers(config, vocabulary)
        width = self.image_tower.width
        self.sequence_wise = SequenceWiseAttention(
            width, config.joint_layers, config.joint_heads, config.dropout
        )
        shared = config.scoring == "shared"
        self.modality_wise = nn.ModuleDict(
            {a: ModalityWiseAttention(width, shared=shared) for a in config.attributes}
        )
        self.heads = nn.ModuleDict(
            {a: _mlp(width, len(labels), config.dropout) for a, labels in config.attributes.items()}
        )

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        features = inputs.image_features
        if features is None:
            if inputs.pixel_values is None:
                raise ValueError("a batch needs pixel_values or image_features")
            features = self.image_tower.features(self.normalise_pixels(inputs.pixel_values))
        image = self.image_tower.embed(features)
        text = self.text_tower(inputs.token_ids, inputs.token_mask)

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
        return ModelOutput(logits, torch.stack(weights, dim=1), image.pooled, text.pooled)


def _mlp(width: int, labels: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, labels)
    )


def _build_towers(config: ClassifierConfig, vocabulary: int) -> tuple[ImageTower, TextTower]:
    towers = config.towers
    if isinstance(towers, SmallTowers):
        return (
            EfficientNetTower(towers, config.image.size_px),
            SmallTextTower(towers, vocabulary, config.text_length, config.dropout),
        )
    return build_clip_towers(towers, config.image.size_px, config.text_length)
