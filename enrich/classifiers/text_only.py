"""The text tower alone, to measure what the titles and descriptions say."""

import torch
from torch import nn

from enrich.classifiers.absent_towers import NoImageTower
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.towers import build_towers


class TextOnly(Classifier):
    """The text tower's pooled embedding, then one MLP an attribute; the image is not looked at.

    What a product without a text is like cannot be known: a learnt embedding stands in, from which
    the heads give about the labels' shares in training. The image's weight is always 0.
    """

    paper = "BERT: Devlin et al. 2018, arXiv 1810.04805"
    starts_from = (
        "Hugging Face CLIP",
        "Hugging Face vision and text models",
        "open_clip CLIP or CoCa",
    )
    trained_by = frozenset({"multitask"})

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        _, self.text_tower = build_towers(config, vocabulary)
        self.image_tower = NoImageTower(self.text_tower.width)
        self.no_text = nn.Parameter(torch.zeros(self.text_tower.width))
        self.heads = build_heads(self.text_tower.width, config)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        image, text = self.encode(inputs)
        read = torch.where(inputs.has_text.unsqueeze(1), text.pooled, self.no_text)
        logits = self.heads(read)
        weights = dict.fromkeys(logits, torch.zeros(len(read), device=read.device))
        return ModelOutput(logits, image.pooled, text.pooled, weights)
