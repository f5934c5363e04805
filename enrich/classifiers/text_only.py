"""The text tower alone, to measure what the titles and descriptions say."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from enrich.classifiers.absent_towers import NoImageTower
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import TEXT, Classifier, ModelOutput, Tokens, Vectors
from enrich.classifiers.towers import build_towers


class TextOnly(Classifier):
    """The text tower's pooled embedding, then one MLP an attribute; the image is not looked at.

    What a product without a text is like cannot be known: a learnt embedding stands in, from which
    the heads give about the labels' shares in training. The image's weight is always 0.
    """

    paper = "BERT: Devlin et al. 2018, arXiv 1810.04805"
    starts_from = (
        "Hugging Face CLIP or SigLIP",
        "Hugging Face vision and text models",
        "any open_clip model",
    )
    trained_by = frozenset({"multitask"})

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        _, self.text_tower = build_towers(config, vocabulary)
        self.image_tower = NoImageTower(self.text_tower.width)
        self.no_text = nn.Parameter(torch.zeros(self.text_tower.width))

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(TEXT), config)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {TEXT: (self.text_tower.width,)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        read = torch.where(has_text.unsqueeze(1), tokens.text.pooled, self.no_text)
        return Vectors({TEXT: read}, has_image, has_text)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        logits = self.heads(vectors.text)
        weights = dict.fromkeys(logits, torch.zeros(len(vectors.text), device=vectors.text.device))
        return ModelOutput(logits, vectors, weights)
