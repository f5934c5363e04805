"""CLIP's two embeddings, added up: the simplest use of both modalities."""

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import IMAGE, ModelOutput, Vectors
from enrich.classifiers.pooled import PooledPair


class ClipSum(PooledPair):
    """The sum of both towers' pooled embeddings, then one MLP an attribute.

    A missing modality adds nothing.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(IMAGE), config)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        return ModelOutput(self.heads(vectors.image + vectors.text), vectors)
