"""Classifiers that answer from both towers' pooled embeddings and from nothing else."""

from jaxtyping import Bool
from torch import Tensor

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import IMAGE, TEXT, Classifier, Tokens, Vectors
from enrich.classifiers.towers import build_towers


class PooledPair(Classifier):
    """Two towers that do not see each other's tokens; subclasses answer from what they pool."""

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        self.image_tower, self.text_tower = build_towers(config, vocabulary)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {IMAGE: (self.image_tower.width,), TEXT: (self.text_tower.width,)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        named = {
            IMAGE: tokens.image.pooled_where(has_image),
            TEXT: tokens.text.pooled_where(has_text),
        }
        return Vectors(named, has_image, has_text)

    def contrasted(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        # Without the subclass's joint attention, which contrast does not read.
        return PooledPair.join(self, tokens, has_image, has_text)
