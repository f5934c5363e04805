"""The image tower alone, to measure what the pictures say."""

import torch
from torch import nn

from enrich.classifiers.absent_towers import NoTextTower
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.towers import build_towers


class ImageOnly(Classifier):
    """The image tower's pooled embedding, then one MLP an attribute; the text is not read.

    What a product without an image is like cannot be known: a learnt embedding stands in, from
    which the heads give about the labels' shares in training. The image's weight is 1, and 0 where
    there is no image.
    """

    paper = "ViT: Dosovitskiy et al. 2020, arXiv 2010.11929"
    trained_by = frozenset({"multitask"})

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.image_tower, _ = build_towers(config, vocabulary)
        self.text_tower = NoTextTower(self.image_tower.width)
        self.no_image = nn.Parameter(torch.zeros(self.image_tower.width))
        self.heads = build_heads(self.image_tower.width, config)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        image, text = self.encode(inputs)
        read = torch.where(inputs.has_image.unsqueeze(1), image.pooled, self.no_image)
        logits = self.heads(read)
        weights = dict.fromkeys(logits, inputs.has_image.float())
        return ModelOutput(logits, image.pooled, text.pooled, weights)
