"""The image tower alone, to measure what the pictures say."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from enrich.classifiers.absent_towers import NoTextTower
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import IMAGE, Classifier, ModelOutput, Tokens, Vectors
from enrich.classifiers.towers import build_towers


class ImageOnly(Classifier):
    """The image tower's pooled embedding, then one MLP an attribute; the text is not read.

    What a product without an image is like cannot be known: a learnt embedding stands in, from
    which the heads give about the labels' shares in training. The image's weight is 1, and 0 where
    there is no image.
    """

    paper = "ViT: Dosovitskiy et al. 2020, arXiv 2010.11929"
    trained_by = frozenset({"multitask"})

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        self.image_tower, _ = build_towers(config, vocabulary)
        self.text_tower = NoTextTower(self.image_tower.width)
        self.no_image = nn.Parameter(torch.zeros(self.image_tower.width))

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(IMAGE), config)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {IMAGE: (self.image_tower.width,)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        read = torch.where(has_image.unsqueeze(1), tokens.image.pooled, self.no_image)
        return Vectors({IMAGE: read}, has_image, has_text)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        logits = self.heads(vectors.image)
        weights = dict.fromkeys(logits, vectors.has_image.float())
        return ModelOutput(logits, vectors, weights)
