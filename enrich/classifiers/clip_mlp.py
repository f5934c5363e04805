"""CLIP's two embeddings side by side: the usual way to put a classifier on CLIP."""

import torch

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import IMAGE, ModelOutput, Vectors
from enrich.classifiers.pooled import PooledPair


class ClipMlp(PooledPair):
    """Both towers' pooled embeddings side by side, then one MLP an attribute.

    One of the ways in which CLIP is fine-tuned. The place of a missing modality holds zeros.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(2 * config.width_of(IMAGE), config)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        both = torch.cat([vectors.image, vectors.text], dim=1)
        return ModelOutput(self.heads(both), vectors)
