"""MMBT: a few cells of the image, mapped to words, stand before the text in a BERT.

Kiela et al., "Supervised Multimodal Bitransformers for Classifying Images and Text",
arXiv 1909.02950; written from the paper.
"""

import torch
import torch.nn.functional as F

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.stream import Segment, Stream, mean_word
from enrich.classifiers.towers import build_towers
from enrich.errors import ConfigError
from enrich.tokenizer import TextEncoder

# The paper's N, from 1 to 9 and typically 3.
CELLS = 3


class Mmbt(Classifier):
    """[CLS], three cells of the image, [SEP], the text, through a BERT that is read at [CLS].

    One linear map makes words of the image's cells. Positions count from 0 in either segment. The
    pooler is the first layer of the heads.

    The paper freezes both encoders for the first epochs, so that the map learns to speak their
    language before they listen: that is a first phase with `tower_learning_rate` 0.
    """

    paper = "MMBT: Kiela et al. 2019, arXiv 1909.02950"
    contrasts_towers = False

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        if config.text_length < CELLS + 2:
            raise ConfigError(
                f"mmbt puts {CELLS + 2} tokens where a text has its own; wanted: a text_length of "
                f"at least that, not {config.text_length}"
            )
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        self.stream = Stream(self.image_tower.width, self.text_tower, config)
        self.heads = build_heads(self.text_tower.width, config)

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        self.stream.start_marks(self.text_tower, encode_texts)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        patches = self.encode_image(inputs).embeds[:, 1:].transpose(1, 2)
        cells = self.stream.from_image(F.adaptive_avg_pool1d(patches, CELLS).transpose(1, 2))
        words = self.text_tower.words(inputs.token_ids, inputs.token_mask)
        rows, length = inputs.token_ids.shape
        places = torch.arange(max(CELLS + 2, length), device=words.device)

        cls, sep = self.stream.mark(0, rows), self.stream.mark(1, rows)
        has_image = inputs.has_image.unsqueeze(1)
        here = torch.ones_like(has_image)
        image = Segment(
            torch.cat([cls, cells, sep], dim=1),
            torch.cat([here, has_image.expand(-1, CELLS), here], dim=1),
            places[: CELLS + 2],
        )
        # The text's own first token would be a second [CLS].
        text = Segment(
            words[:, 1:],
            inputs.token_mask[:, 1:] & inputs.has_text.unsqueeze(1),
            places[: length - 1],
        )
        read = self.stream(self.text_tower, image, text)
        return ModelOutput(self.heads(read), cells.mean(1), mean_word(words, inputs))
