"""MMBT: a few cells of the image, mapped to words, stand before the text in a BERT.

Kiela et al., "Supervised Multimodal Bitransformers for Classifying Images and Text",
arXiv 1909.02950; written from the paper.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import Tokens, Vectors
from enrich.classifiers.stream import Segment, StreamClassifier
from enrich.errors import ConfigError

# The paper's N, from 1 to 9 and typically 3.
CELLS = 3


class Mmbt(StreamClassifier):
    """[CLS], three cells of the image, [SEP], the text, through a BERT that is read at [CLS].

    One linear map makes words of the image's cells. Positions count from 0 in either segment. The
    pooler is the first layer of the heads.

    The paper freezes both encoders for the first epochs, so that the map learns to speak their
    language before they listen: that is a first phase with `tower_learning_rate` 0.
    """

    paper = "MMBT: Kiela et al. 2019, arXiv 1909.02950"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        if config.text_length < CELLS + 2:
            raise ConfigError(
                f"mmbt puts {CELLS + 2} tokens where a text has its own; wanted: a text_length of "
                f"at least that, not {config.text_length}"
            )
        super().build_encoder(config, vocabulary)

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        patches = tokens.image.embeds[:, 1:].transpose(1, 2)
        cells = self.stream.from_image(F.adaptive_avg_pool1d(patches, CELLS).transpose(1, 2))
        words = tokens.text.embeds
        rows, length = tokens.token_mask.shape
        places = torch.arange(max(CELLS + 2, length), device=words.device)

        cls, sep = self.stream.mark(0, rows), self.stream.mark(1, rows)
        shown = has_image.unsqueeze(1)
        here = torch.ones_like(shown)
        image = Segment(
            torch.cat([cls, cells, sep], dim=1),
            torch.cat([here, shown.expand(-1, CELLS), here], dim=1),
            places[: CELLS + 2],
        )
        # The text's own first token would be a second [CLS].
        text = Segment(
            words[:, 1:],
            tokens.token_mask[:, 1:] & has_text.unsqueeze(1),
            places[: length - 1],
        )
        read = self.stream(self.text_tower, image, text)
        return self.to_vectors(read, cells, tokens, has_image, has_text)
