"""CLIP's two embeddings, added up: the simplest use of both modalities."""

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.towers import build_towers


class ClipSum(Classifier):
    """The sum of both towers' pooled embeddings, then one MLP an attribute.

    A missing modality adds nothing.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        self.heads = build_heads(self.image_tower.width, config)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        image, text = self.encode(inputs)
        total = image.pooled_where(inputs.has_image) + text.pooled_where(inputs.has_text)
        return ModelOutput(self.heads(total), image.pooled, text.pooled)
