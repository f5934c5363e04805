"""CLIP's two embeddings side by side: the usual way to put a classifier on CLIP."""

import torch

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.towers import build_towers


class ClipMlp(Classifier):
    """Both towers' pooled embeddings side by side, then one MLP an attribute.

    The fine-tuned CLIP that CMA-CLIP is compared with (arXiv 2112.03562). The place of a missing
    modality holds zeros.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        self.heads = build_heads(2 * self.image_tower.width, config)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        image, text = self.encode(inputs)
        both = torch.cat(
            [image.pooled_where(inputs.has_image), text.pooled_where(inputs.has_text)], dim=1
        )
        return ModelOutput(self.heads(both), image.pooled, text.pooled)
